const picked = () =>
  [...element.querySelectorAll('[data-pick]:checked')].map((e) => e.dataset.pick);
const count = () => {
  const words = element.querySelector('[data-count]');
  if (words) words.textContent = picked().length ? `${picked().length} selected` : 'Select';
};
const many = async (act) => {
  const ids = picked();
  if (!ids.length) return;
  if (act === 'delete' && !confirm(`Delete ${ids.length} takes and their audio?`)) return;
  let value = '';
  if (act === 'tag') value = prompt('Tag for the selected takes') || '';
  if (act === 'tag' && !value) return;
  if (act === 'move') value = element.querySelector('[data-target]').value;
  if (act !== 'export') return sendClick({ act: `many-${act}`, ids, value });
  const answer = await fetch('history/export', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ ids }),
  });
  if (!answer.ok) return alert((await answer.json()).error.message);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await answer.blob());
  link.download = 'takes.voicebox.zip';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  const missing = JSON.parse(answer.headers.get('X-Missing') || '[]');
  if (missing.length) alert(`Left out, because their files are gone: ${missing.join(', ')}`);
};
element.addEventListener('click', (event) => {
  const bulk = event.target.closest('[data-bulk]');
  if (bulk) return many(bulk.dataset.bulk);
  const button = event.target.closest('[data-act]');
  if (!button) return;
  const id = button.closest('[data-id]').dataset.id;
  const act = button.dataset.act;
  if (act === 'delete' && !confirm('Delete this take and its audio?')) return;
  // Where the list is not drawn again there is no answer to wait for.
  if (['reuse', 'open'].includes(act)) return trigger('click', { id, act });
  sendClick({ id, act });
});
element.addEventListener('change', (event) => {
  if (event.target.matches('[data-all]'))
    for (const box of element.querySelectorAll('[data-pick]')) box.checked = event.target.checked;
  count();
});
element.addEventListener('keydown', (event) => {
  const row = event.target.closest('article[data-id]');
  if (!row || event.target !== row || event.ctrlKey || event.metaKey || event.altKey) return;
  const audio = row.querySelector('audio');
  const push = (act) => row.querySelector(`[data-act=${act}]`)?.click();
  const keys = {
    ArrowDown: () => row.nextElementSibling?.focus(),
    ArrowUp: () => row.previousElementSibling?.focus(),
    Enter: () => audio && (audio.paused ? audio.play() : audio.pause()),
    ' ': () => row.querySelector('[data-pick]').click(),
    f: () => push('favorite'),
    u: () => push('reuse'),
    e: () => push('open'),
    Delete: () => push('delete'),
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
