"""The History tab: find a take, hear it, use it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from voicelab.errors import VoicelabError
from voicelab.lab import VoiceLab
from voicelab.library import Filters
from voicelab.ui import take
from voicelab.ui.generate import Controls, engine_choices
from voicelab.ui.presses import PRESSES, drawn
from voicelab.ui.refusals import check_owner
from voicelab.ui.rows import bulk_bar, take_list

__all__ = ["build"]

PAGE_SIZE = 20
CLICKS = (
    PRESSES
    + """
const picked = () => [...element.querySelectorAll('[data-pick]:checked')].map(e => e.dataset.pick);
const count = () => {
  const words = element.querySelector('[data-count]');
  if (words) words.textContent = picked().length ? picked().length + ' selected' : 'Select';
};
const many = async (act) => {
  const ids = picked();
  if (!ids.length) return;
  if (act === 'delete' && !confirm(`Delete ${ids.length} takes and their audio?`)) return;
  let value = '';
  if (act === 'tag') value = prompt('Tag for the selected takes') || '';
  if (act === 'tag' && !value) return;
  if (act === 'move') value = element.querySelector('[data-target]').value;
  if (act !== 'export') return press({act: 'many-' + act, ids, value});
  const answer = await fetch('history/export', {
    method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({ids}),
  });
  if (!answer.ok) return alert((await answer.json()).error.message);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await answer.blob());
  link.download = 'takes.voicebox.zip';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
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
  if (['reuse', 'open'].includes(act)) return trigger('click', {id, act});
  press({id, act});
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
    f: () => push('favorite'), u: () => push('reuse'), e: () => push('open'),
    Delete: () => push('delete'),
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
"""
)
KEYS = (
    "Keys on a take: arrows move, Enter plays, Space selects, F favourite, E versions and effects, "
    "U use again, Delete deletes."
)


def build(lab: VoiceLab, controls: Controls, tabs: gr.Tabs, tab: gr.Tab) -> None:
    """Lay out the tab in the current block."""
    with gr.Row(equal_height=True):
        search = gr.Textbox(
            label="Search",
            placeholder="words of the text, tags, voice",
            scale=4,
            elem_id="vl-search",
        )
        status = gr.Dropdown(
            [("Any", ""), ("Completed", "completed"), ("Failed", "failed"), ("Pending", "pending")],
            value="",
            label="Status",
            min_width=110,
            filterable=False,
        )
        names = [("Any", ""), *engine_choices(lab)]
        engine = gr.Dropdown(names, value="", label="Engine", min_width=110, filterable=False)
        favorite = gr.Checkbox(False, label="Favourites only", min_width=110)
    drawer = take.build(lab)
    takes = gr.HTML(take_list([], False), js_on_load=CLICKS, elem_id="vl-history", padding=False)
    with gr.Row():
        newer = gr.Button("Newer", size="sm", interactive=False)
        place = gr.HTML("", elem_classes="vl-muted vl-place", padding=False)
        older = gr.Button("Older", size="sm", interactive=False)
        upload = gr.UploadButton("Import takes (ZIP)", file_types=[".zip"], size="sm")
    gr.HTML(
        f"<p class='vl-muted'>{KEYS} All takes as <a href='history/export?format=csv' download>CSV"
        "</a> or <a href='history/export?format=jsonl' download>JSONL</a>.</p>",
        padding=False,
    )
    offset = gr.State(0)

    def show(offset: int, words: str, status: str, engine: str, favorite: bool) -> list[Any]:
        filters = Filters(
            search=words, status=status or None, engine=engine or None, favorite=favorite or None
        )
        records, total = lab.history.list(filters, limit=PAGE_SIZE, offset=offset)
        if not records and total:
            return show(max(0, offset - PAGE_SIZE), words, status, engine, favorite)
        last = offset + len(records)
        words = f"{offset + 1}\u2013{last} of {total:,}" if total else ""
        names = sorted(lab.profiles.names().items(), key=lambda pair: pair[1])
        return [
            drawn((bulk_bar(names) if records else "") + take_list(records, filters.any)),
            words,
            gr.Button(interactive=offset > 0),
            gr.Button(interactive=last < total),
            offset,
        ]

    filters = [search, status, engine, favorite]
    shown = [takes, place, newer, older, offset]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

    gr.on(
        [tab.select, search.change, status.input, engine.input, favorite.input],
        lambda *values: show(0, *values),
        filters,
        shown,
        trigger_mode="always_last",
        **quiet,
    )
    newer.click(lambda at, *v: show(max(0, at - PAGE_SIZE), *v), [offset, *filters], shown, **quiet)
    older.click(lambda at, *v: show(at + PAGE_SIZE, *v), [offset, *filters], shown, **quiet)

    def act(
        at: int, words: str, status: str, engine: str, favorite: bool, event: gr.EventData
    ) -> list[Any]:
        wanted, data = event._data["act"], event._data
        opened = [gr.skip() for _ in drawer.outputs]
        filled = [gr.skip() for _ in controls.outputs]
        tab = gr.skip()
        try:
            if wanted == "reuse":
                filled = controls.values(lab, lab.history.get(str(data["id"])))
                tab = gr.Tabs(selected="generate")
            elif wanted == "open":
                opened = drawer.show(str(data["id"]))
            else:
                _change(lab, wanted, data)
        except VoicelabError as error:
            gr.Warning(str(error))
        listed = [gr.skip() for _ in shown]
        if wanted not in ("reuse", "open"):
            listed = show(at, words, status, engine, favorite)
        return [*listed, tab, *filled, *opened]

    takes.click(
        act,
        [offset, *filters],
        [*shown, tabs, *controls.outputs, *drawer.outputs],
        trigger_mode="multiple",
        **quiet,
    )

    def bring(path: str, *values: Any) -> list[Any]:
        try:
            with Path(path).open("rb") as file:
                records = lab.import_archive(file)
        except VoicelabError as error:
            raise gr.Error(str(error), print_exception=False) from error
        gr.Info(f"Imported {len(records)} take{'s' if len(records) > 1 else ''}.")
        return show(0, *values)

    upload.upload(bring, [upload, *filters], shown, api_visibility="private")


def _change(lab: VoiceLab, wanted: str, data: dict[str, Any]) -> None:
    """What a button of a row, or of the selected rows, asks for."""
    if wanted == "favorite":
        lab.history.toggle_favorite(str(data["id"]))
    elif wanted == "resume":
        lab.submit(lab.resume(str(data["id"])))
    elif wanted == "delete":
        check_owner(lab)
        lab.delete(str(data["id"]))
    else:
        _change_many(lab, wanted, [str(id) for id in data["ids"]], str(data["value"]))


def _change_many(lab: VoiceLab, wanted: str, ids: list[str], value: str) -> None:
    if wanted == "many-delete":
        check_owner(lab)
        lab.delete_many(ids)
    elif wanted == "many-favorite":
        lab.history.change_many(ids, is_favorited=True)
    elif wanted == "many-tag":
        lab.history.change_many(ids, add_tags=[value])
    elif wanted == "many-move":
        lab.history.change_many(ids, profile_id=value)
