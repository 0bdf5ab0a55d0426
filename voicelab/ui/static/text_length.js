// How long a text is when spoken: 15 letters a second, 4.5 where a letter is a syllable.
// biome-ignore format: gradio calls this text as an expression, which ends without a semicolon.
(text) => {
  let seconds = 0;
  const spoken = text.replace(/\[pause:\s*([\d.]+)\s*(ms|s)\s*\]/gi, (_, number, unit) => {
    seconds += number / (unit.toLowerCase() === 'ms' ? 1000 : 1);
    return '';
  }).trim();
  const wide = (spoken.match(/[\u2e80-\u9fff\uac00-\ud7af]/g) || []).length;
  seconds += wide / 4.5 + (spoken.length - wide) / 15;
  return `${text.length.toLocaleString()} characters, about ${Math.ceil(seconds)} s`;
}
