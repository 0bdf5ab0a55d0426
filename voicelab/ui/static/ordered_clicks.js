// `sendClick(data)` triggers a click with that data: one at a time, in order, none lost.
//
// gradio ignores a click while the answer to the one before is on its way. Told not to
// (trigger_mode="multiple"), it draws answers that arrive together in any order, and an old one
// may stay. So the next click is sent when the answer to the last is drawn; moves of the same
// item that add up wait as one.
const ANSWER_MS = 3000; // an answer that is a refusal draws nothing
const waiting = [];
let timeout, mark;
const sendNext = () => {
  clearTimeout(timeout);
  timeout = waiting.length ? setTimeout(sendNext, ANSWER_MS) : null;
  if (timeout) trigger('click', waiting.shift());
};
const addsUp = (before, data) =>
  data.act === 'nudge' &&
  before.act === 'nudge' &&
  before.id === data.id &&
  before.ms * data.ms >= 0 &&
  before.tracks * data.tracks >= 0;
// biome-ignore lint/correctness/noUnusedVariables: the script that follows this one calls it.
const sendClick = (data) => {
  const before = waiting[waiting.length - 1];
  if (before && addsUp(before, data)) {
    before.ms += data.ms;
    before.tracks += data.tracks;
  } else waiting.push(data);
  if (!timeout) sendNext();
};
new MutationObserver(() => {
  const drawn = element.querySelector('[data-drawn]')?.dataset.drawn;
  if (drawn === mark) return;
  mark = drawn;
  if (timeout) sendNext();
}).observe(element, { childList: true, subtree: true, attributeFilter: ['data-drawn'] });
