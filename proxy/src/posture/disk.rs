//! Whether what is stored on a Linux machine is encrypted: everything below `/`, `/home`, `/var` and swap goes through
//! dm-crypt. One that does not is enough to say no.
use super::linux::Machine;
use std::fs;
use std::path::{Path, PathBuf};

/// Devices above each other: encryption, volumes, RAID. Deeper is a circle.
const MAX_DEPTH: usize = 16;

pub(super) fn encrypted(machine: &Machine) -> Option<bool> {
    let mounts = machine.text("proc/self/mountinfo")?;
    let mut places: Vec<Option<bool>> = mounts
        .lines()
        .filter_map(Mount::parse)
        .filter(Mount::holds_data)
        .map(|mount| mount.encrypted(machine))
        .collect();
    if places.is_empty() {
        return None;
    }
    places.extend(swap(machine));
    if places.contains(&Some(false)) {
        return Some(false);
    }
    places.into_iter().collect::<Option<Vec<bool>>>().map(|_| true)
}

struct Mount<'a> {
    device: &'a str,
    point: &'a str,
    source: &'a str,
}

impl<'a> Mount<'a> {
    /// proc(5): `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(2);
        let device = left.next()?;
        let point = left.nth(1)?;
        Some(Self { device, point, source: right.split(' ').nth(1)? })
    }

    fn holds_data(&self) -> bool {
        matches!(self.point, "/" | "/home" | "/var")
    }

    fn encrypted(&self, machine: &Machine) -> Option<bool> {
        // Btrfs has a number of its own, which is no device; its source is one.
        let device = match self.device.starts_with("0:") {
            false => machine.path(format!("sys/dev/block/{}", self.device)),
            true => block_device(machine, self.source)?,
        };
        through_crypt(&device, MAX_DEPTH)
    }
}

fn swap(machine: &Machine) -> Vec<Option<bool>> {
    let Some(swaps) = machine.text("proc/swaps") else { return vec![None] };
    let lines = swaps.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    // A file lies on one of the places above; zram never leaves the memory.
    let on_devices = lines.filter_map(|words| match words.as_slice() {
        [name, "partition", ..] if !name.starts_with("/dev/zram") => Some((*name).to_owned()),
        _ => None,
    });
    on_devices.map(|name| block_device(machine, &name).and_then(|device| through_crypt(&device, MAX_DEPTH))).collect()
}

/// `/dev/mapper/root` is a link to `../dm-0`, and that is a folder below `/sys/class/block`.
fn block_device(machine: &Machine, source: &str) -> Option<PathBuf> {
    if !source.starts_with("/dev/") {
        return None;
    }
    let path = machine.path(source);
    let path = fs::canonicalize(&path).unwrap_or(path);
    let device = machine.path(Path::new("sys/class/block").join(path.file_name()?));
    device.exists().then_some(device)
}

/// Whether all that is written to this device is encrypted before it reaches a disk.
fn through_crypt(device: &Path, depth: usize) -> Option<bool> {
    let depth = depth.checked_sub(1)?;
    let device = fs::canonicalize(device).ok()?;
    // Where it is no device-mapper device, there is no such file.
    let uuid = fs::read_to_string(device.join("dm/uuid")).unwrap_or_default();
    if uuid.starts_with("CRYPT-") {
        return Some(true);
    }
    let below: Vec<PathBuf> =
        fs::read_dir(device.join("slaves")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    if !below.is_empty() {
        let each: Vec<Option<bool>> = below.iter().map(|device| through_crypt(device, depth)).collect();
        return match each.contains(&Some(false)) {
            true => Some(false),
            false => each.into_iter().collect::<Option<Vec<bool>>>().map(|_| true),
        };
    }
    // A loop device is a file on another one.
    let name = device.file_name()?.to_string_lossy().into_owned();
    (!name.starts_with("loop")).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posture::linux::Ran;
    use std::os::unix::fs::symlink;

    /// Block devices as the kernel shows them: number, name, UUID of device-mapper, what they lie on.
    fn machine(root: &Path, devices: &[(&str, &str, &str, &[&str])], mounts: &str, swaps: &str) -> Option<bool> {
        let _ = fs::remove_dir_all(root);
        let block = root.join("sys/class/block");
        fs::create_dir_all(&block).unwrap();
        fs::create_dir_all(root.join("sys/dev/block")).unwrap();
        fs::create_dir_all(root.join("dev/mapper")).unwrap();
        fs::create_dir_all(root.join("proc/self")).unwrap();
        for (number, name, uuid, below) in devices {
            fs::create_dir_all(block.join(name).join("slaves")).unwrap();
            if !uuid.is_empty() {
                fs::create_dir_all(block.join(name).join("dm")).unwrap();
                fs::write(block.join(name).join("dm/uuid"), uuid).unwrap();
            }
            fs::write(root.join("dev").join(name), "").unwrap();
            symlink(block.join(name), root.join("sys/dev/block").join(number)).unwrap();
            for other in *below {
                symlink(block.join(other), block.join(name).join("slaves").join(other)).unwrap();
            }
        }
        symlink("../dm-0", root.join("dev/mapper/root")).unwrap();
        fs::write(root.join("proc/self/mountinfo"), mounts).unwrap();
        fs::write(root.join("proc/swaps"), format!("Filename Type Size Used Priority\n{swaps}")).unwrap();
        encrypted(&Machine::fake(root, |_, _| Ran::NotThere))
    }

    #[test]
    fn a_disk_is_encrypted_when_all_that_holds_data_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = &folder.path().join("root");
        let on = |number: &str, source: &str| format!("27 1 {number} / / rw,relatime - ext4 {source} rw\n");
        let sda: (&str, &str, &str, &[&str]) = ("8:1", "sda1", "", &[]);
        let crypt: (&str, &str, &str, &[&str]) = ("254:0", "dm-0", "CRYPT-LUKS2-0123-root", &["sda1"]);
        let volume: (&str, &str, &str, &[&str]) = ("254:1", "dm-1", "LVM-abc", &["dm-0"]);
        let both: (&str, &str, &str, &[&str]) = ("9:0", "md0", "", &["dm-0", "sda1"]);
        let all = [sda, crypt, volume, both];
        for (what, mounts, swaps, found) in [
            ("a plain partition", on("8:1", "/dev/sda1"), "", Some(false)),
            ("LUKS", on("254:0", "/dev/mapper/root"), "", Some(true)),
            ("a volume on LUKS", on("254:1", "/dev/mapper/vg-root"), "", Some(true)),
            ("a mirror of which one half is plain", on("9:0", "/dev/md0"), "", Some(false)),
            ("btrfs on LUKS", on("0:30", "/dev/mapper/root"), "", Some(true)),
            ("btrfs on a plain partition", on("0:30", "/dev/sda1"), "", Some(false)),
            ("a container", on("0:50", "overlay"), "", None),
            ("plain /home", on("254:0", "x") + "28 27 8:1 / /home rw - ext4 /dev/sda1 rw\n", "", Some(false)),
            ("plain /boot", on("254:0", "x") + "28 27 8:1 / /boot rw - ext4 /dev/sda1 rw\n", "", Some(true)),
            ("plain swap", on("254:0", "x"), "/dev/sda1 partition 1 0 -2\n", Some(false)),
            ("encrypted swap", on("254:0", "x"), "/dev/dm-1 partition 1 0 -2\n", Some(true)),
            ("zram and a file", on("254:0", "x"), "/dev/zram0 partition 1 0 5\n/swap file 1 0 5\n", Some(true)),
            ("a device that is not shown", on("259:1", "/dev/nvme0n1"), "", None),
            ("nothing", String::new(), "", None),
        ] {
            assert_eq!(machine(root, &all, &mounts, swaps), found, "{what}");
        }
    }
}
