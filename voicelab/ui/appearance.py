"""How the page looks: system fonts, nothing fetched, dark and light, down to 360 px."""

from __future__ import annotations

from typing import Any

import gradio as gr

__all__ = ["appearance"]

SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

CSS = """
.gradio-container { max-width: 1080px !important; margin: 0 auto !important;
  width: 100% !important; min-width: 0 !important; overflow-x: hidden; }
.gradio-container main, .gradio-container .wrap, .gradio-container .column { min-width: 0; }
.vl-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .9rem; }
.vl-head h1 { font-size: 1.5rem; margin: 0; letter-spacing: -.02em; }
.vl-head p, .vl-muted { color: var(--body-text-color-subdued); margin: 0; font-size: .9rem; }
.vl-list { display: grid; gap: .6rem; }
.vl-take { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: .8rem 1rem;
  background: var(--block-background-fill); }
.vl-take:focus-within { border-color: var(--color-accent); }
.vl-take p { margin: 0 0 .35rem; overflow-wrap: anywhere; color: var(--body-text-color);
  display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden; }
.vl-facts { display: flex; flex-wrap: wrap; gap: .1rem .9rem; font-size: .8rem;
  color: var(--body-text-color-subdued); }
.vl-failed { color: var(--error-text-color, #b91c1c); font-size: .85rem; }
.vl-take audio { width: 100%; height: 40px; margin: .5rem 0 .4rem; display: block; }
.vl-acts { display: flex; flex-wrap: wrap; gap: .35rem; }
.vl-acts button, .vl-acts a { font: inherit; font-size: .8rem; padding: .25rem .6rem;
  border-radius: 6px; border: 1px solid var(--border-color-primary); cursor: pointer;
  background: var(--button-secondary-background-fill); color: var(--body-text-color);
  box-shadow: none; margin: 0; line-height: 1.4;
  text-decoration: none; }
.vl-acts button:hover, .vl-acts a:hover { border-color: var(--color-accent); }
.vl-acts button[aria-pressed=true] { border-color: var(--color-accent);
  color: var(--color-accent); }
.vl-acts :focus-visible { outline: 2px solid var(--color-accent); outline-offset: 1px; }
.vl-take { position: relative; }
.vl-take[tabindex]:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; }
.vl-pick { position: absolute; top: .7rem; right: .8rem; }
.vl-pick + p { padding-right: 1.8rem; }
.vl-bulk { align-items: center; margin-bottom: .6rem; }
.vl-bulk select { font: inherit; font-size: .8rem; padding: .25rem .4rem; border-radius: 6px;
  border: 1px solid var(--border-color-primary); color: var(--body-text-color);
  background: var(--input-background-fill); max-width: 9rem; }
.vl-pick input, .vl-bulk input { border: 1px solid var(--body-text-color-subdued) !important; }
.vl-bulk select { margin: 0; }
.vl-bulk label { font-size: .85rem; color: var(--body-text-color); margin-right: .3rem; }
.vl-wave { width: 100%; height: 44px; margin-top: .3rem; display: block; }
.vl-wave path { stroke: var(--color-accent); stroke-width: 1.2; fill: none; }
.vl-badge { font-size: .8rem; padding: .25rem .6rem; border-radius: 6px; color: var(--color-accent);
  border: 1px solid var(--color-accent); line-height: 1.4; }
.vl-versions .vl-facts b { color: var(--body-text-color); }
.vl-profile { display: grid; grid-template-columns: 48px 1fr; gap: .8rem; align-items: start; }
.vl-face { width: 48px; height: 48px; border-radius: 50%; object-fit: cover; display: grid;
  place-items: center; font-weight: 600; color: var(--color-accent);
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); }
#vl-drawer { border: 1px solid var(--color-accent); border-radius: 12px; padding: .9rem; }
#vl-drawer h3 { margin: 0; overflow-wrap: anywhere; }
.vl-story { overflow-x: auto; padding-bottom: .2rem; }
.vl-lane { position: relative; height: 52px; min-width: 560px; margin-bottom: 4px;
  border-radius: 8px; background: var(--block-background-fill);
  border: 1px solid var(--border-color-primary); }
.vl-item, .vl-item * { color: white !important; }
.vl-item { position: absolute; top: 4px; bottom: 4px; overflow: hidden; border-radius: 6px;
  padding: .25rem .5rem; font-size: .75rem; line-height: 1.25; cursor: grab; touch-action: none;
  background: var(--color-accent); border: 1px solid var(--background-fill-primary);
  user-select: none; }
.vl-item:focus-visible { outline: 2px solid var(--body-text-color); outline-offset: 1px; }
.vl-item[aria-current=true] { box-shadow: 0 0 0 2px var(--body-text-color); }
.vl-ruler { position: relative; height: 1.2rem; min-width: 560px; font-size: .75rem;
  color: var(--body-text-color-subdued); }
.vl-ruler span { position: absolute; font-variant-numeric: tabular-nums; }
.vl-whole { width: 100%; height: 40px; margin: .5rem 0 .4rem; display: block; }
.vl-place { text-align: center; align-self: center; }
.vl-empty { text-align: center; padding: 2.5rem 1rem; color: var(--body-text-color-subdued); }
.vl-chunks { margin: 0; padding: 0; list-style: none; display: grid; gap: .25rem; }
.vl-chunks li { display: grid; grid-template-columns: 5.2rem 1fr auto; align-items: start;
  gap: .6rem; font-size: .88rem; }
.vl-chunks time { color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
.vl-chunks span { overflow-wrap: anywhere; }
.vl-cards { display: grid; gap: .6rem;
  grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); }
.vl-card { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: .7rem .9rem;
  background: var(--block-background-fill); }
.vl-card b { display: block; white-space: nowrap; font-size: 1.2rem; font-weight: 600;
  color: var(--body-text-color); }
.vl-card span { font-size: .8rem; color: var(--body-text-color-subdued); }
.vl-tight { min-width: 3rem !important; align-self: end; }
.dark audio { color-scheme: dark; }
@media (max-width: 640px) {
  .gradio-container { padding: .5rem !important; }
  /* All five tabs side by side, instead of some in a menu. */
  .tab-container button { padding: 0 .5rem !important; font-size: .85rem !important; }
  .vl-chunks li { grid-template-columns: 1fr; gap: 0; }
}
@media (prefers-reduced-motion: reduce) { * { animation: none !important; } }
"""

KEYS = """
<script>
document.addEventListener('keydown', (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.key !== 'Enter') return;
  const button = document.querySelector('#vl-generate');
  if (!button || !event.target.closest('#vl-text')) return;
  event.preventDefault();
  // The text box sends its value when it loses the focus; the click must come after that.
  event.target.blur();
  setTimeout(() => { button.click(); event.target.focus(); }, 50);
});
</script>
"""


def appearance() -> dict[str, Any]:
    """theme, css and head, for `launch`."""
    theme = gr.themes.Soft(primary_hue="indigo", font=SANS, font_mono=MONO, radius_size="md")
    return {"theme": theme, "css": CSS, "head": KEYS}
