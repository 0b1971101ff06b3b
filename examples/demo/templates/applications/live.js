// A chat over one WebSocket. Text is only ever set as text.
const lines = document.getElementById('lines');
const state = document.getElementById('state');
const text = document.getElementById('text');
const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + '/live/socket');
socket.onopen = () => { state.textContent = 'Connected.'; };
socket.onclose = (event) => { state.textContent = `Closed (${event.code}).`; };
socket.onmessage = (event) => {
  const line = JSON.parse(event.data);
  lines.textContent += `${line.from}: ${line.text}\n`;
  lines.scrollTop = lines.scrollHeight;
};
document.getElementById('say').addEventListener('submit', (event) => {
  event.preventDefault();
  if (text.value && socket.readyState === WebSocket.OPEN) socket.send(text.value);
  text.value = '';
});
