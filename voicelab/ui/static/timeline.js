const msPerPixel = (lane) => Number(lane.dataset.length) / lane.getBoundingClientRect().width;
const send = (item, act, fields) => sendClick({ act, id: item.dataset.id, ...fields });
let focused = null;
element.addEventListener('focusin', (event) => {
  focused = event.target.closest('.vl-item')?.dataset.id;
});
// gradio writes one item over another's element: the keyboard stays with the item.
new MutationObserver(() => {
  const at = document.activeElement;
  if (!focused || (at !== document.body && !element.contains(at))) return;
  const items = [...element.querySelectorAll('.vl-item')];
  items.find((item) => item.dataset.id === focused)?.focus();
}).observe(element, { childList: true, subtree: true, attributeFilter: ['data-id'] });
element.addEventListener('pointerdown', (event) => {
  const item = event.target.closest('.vl-item');
  if (!item || event.button) return;
  event.preventDefault();
  item.focus();
  const lane = item.parentElement,
    from = event.clientX,
    left = item.offsetLeft;
  let moved = false;
  item.setPointerCapture(event.pointerId);
  const drag = (e) => {
    if (!moved && Math.abs(e.clientX - from) < 4) return;
    moved = true;
    item.style.left = `${Math.max(0, left + e.clientX - from)}px`;
  };
  item.addEventListener('pointermove', drag);
  item.addEventListener(
    'pointerup',
    (e) => {
      item.removeEventListener('pointermove', drag);
      if (!moved) return send(item, 'select');
      const under = document.elementsFromPoint(e.clientX, e.clientY);
      const target = under.map((n) => n.closest('.vl-lane')).find(Boolean) || lane;
      const start = Math.max(0, left + e.clientX - from) * msPerPixel(lane);
      send(item, 'move', { start: Math.round(start), track: Number(target.dataset.track) });
    },
    { once: true },
  );
});
element.addEventListener('keydown', (event) => {
  const item = event.target.closest('.vl-item');
  if (!item) return;
  const step = event.shiftKey ? 1000 : 100;
  const nudge = (ms, tracks) => send(item, 'nudge', { ms, tracks });
  const keys = {
    ArrowLeft: () => nudge(-step, 0),
    ArrowRight: () => nudge(step, 0),
    ArrowUp: () => nudge(0, -1),
    ArrowDown: () => nudge(0, 1),
    Enter: () => send(item, 'select'),
    Delete: () => send(item, 'remove'),
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
