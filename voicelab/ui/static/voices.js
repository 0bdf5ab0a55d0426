element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (!button) return;
  const act = button.dataset.act;
  if (act === 'delete' && !confirm('Delete this voice, its clips and all its takes?')) return;
  if (act === 'remove' && !confirm('Remove this clip?')) return;
  trigger('click', { id: button.closest('[data-id]').dataset.id, act });
});
