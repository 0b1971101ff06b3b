// Server-sent events, newest at the bottom, the last hundred.
const lines = document.getElementById('lines');
const state = document.getElementById('state');
const seen = [];
const source = new EventSource('/events');
source.onopen = () => { state.textContent = 'Connected.'; };
source.onerror = () => { state.textContent = 'Not connected.'; };
source.onmessage = (event) => {
  const happening = JSON.parse(event.data);
  seen.push(`${happening.time}  ${happening.pod}  ${happening.state}`);
  lines.textContent = seen.slice(-100).join('\n');
  lines.scrollTop = lines.scrollHeight;
};
