element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act=chunk]');
  if (button) trigger('click', { index: button.dataset.index });
});
