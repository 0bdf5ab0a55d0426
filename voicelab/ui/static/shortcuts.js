// Ctrl+Enter in the text box generates.
document.addEventListener('keydown', (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.key !== 'Enter') return;
  const button = document.querySelector('#vl-generate');
  if (!button || !event.target.closest('#vl-text')) return;
  event.preventDefault();
  // The text box sends its value when it loses the focus; the click must come after that.
  event.target.blur();
  setTimeout(() => {
    button.click();
    event.target.focus();
  }, 50);
});
