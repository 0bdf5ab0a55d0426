"""Presses in the page's own HTML: sent one at a time, and none lost.

gradio ignores a press while the answer to the one before is on its way. Told not to
(`trigger_mode="multiple"`), it draws answers that arrive together in any order, and an old one may
stay. So the next press is sent when the answer to the last is drawn; presses that add up, wait
as one.
"""

from __future__ import annotations

import time

__all__ = ["PRESSES", "drawn"]

PRESSES = """
const ANSWER_MS = 3000;  // an answer that is a refusal draws nothing
const presses = [];
let awaited, seen;
const next = () => {
  clearTimeout(awaited);
  awaited = presses.length ? setTimeout(next, ANSWER_MS) : null;
  if (awaited) trigger('click', presses.shift());
};
const adds = (before, data) => data.act === 'nudge' && before.act === 'nudge'
  && before.id === data.id && before.ms * data.ms >= 0 && before.tracks * data.tracks >= 0;
const press = (data) => {
  const before = presses[presses.length - 1];
  if (before && adds(before, data)) {
    before.ms += data.ms;
    before.tracks += data.tracks;
  } else presses.push(data);
  if (!awaited) next();
};
new MutationObserver(() => {
  const mark = element.querySelector('[data-drawn]')?.dataset.drawn;
  if (mark === seen) return;
  seen = mark;
  if (awaited) next();
}).observe(element, {childList: true, subtree: true, attributeFilter: ['data-drawn']});
"""
"""For the beginning of `js_on_load`: `press(data)` triggers a click with that data."""


def drawn(html: str) -> str:
    """The HTML with a mark that no other drawing has."""
    return f"<div data-drawn='{time.monotonic_ns()}'>{html}</div>"
