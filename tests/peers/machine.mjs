// A virtual machine with a console, as Proxmox has them: qemu without a disk (Debian), its VNC on loopback, and websockify
// with noVNC's page before it.
import { freePorts, listens, ready, start } from './work.mjs';

/** Where VNC counts its displays from (RFC 6143 section 1). */
const VNC = 5900;

export async function startMachine() {
  const [vnc, port] = await freePorts(2);
  const qemu = start('qemu', 'qemu-system-x86_64', ['-accel', 'tcg', '-m', '64', '-nodefaults', '-vga', 'std', '-vnc', `127.0.0.1:${vnc - VNC}`]);
  await ready(qemu, () => listens(vnc));
  const websockify = start('websockify-qemu', 'websockify', ['--web', '/usr/share/novnc', `127.0.0.1:${port}`, `127.0.0.1:${vnc}`]);
  await ready(websockify, () => listens(port));
  const stop = async () => {
    await websockify.stop();
    await qemu.stop();
  };
  return { url: `http://127.0.0.1:${port}`, stop };
}
