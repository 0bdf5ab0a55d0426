element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (!button) return;
  const act = button.dataset.act;
  if (act === 'discard' && !confirm('Delete this version?')) return;
  const id = (button.closest('[data-id]') || { dataset: {} }).dataset.id || '';
  trigger('click', { id, act, index: button.dataset.index || '' });
});
// A and B: whichever version is started goes on where the other one is.
element.addEventListener(
  'play',
  (event) => {
    for (const other of element.querySelectorAll('audio')) {
      if (other === event.target || other.paused) continue;
      event.target.currentTime = Math.min(other.currentTime, event.target.duration || 1e9);
      other.pause();
    }
  },
  true,
);
