"""The History tab: find a take, hear it, use it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from voicelab.errors import Forbidden, VoicelabError
from voicelab.lab import VoiceLab
from voicelab.library import Filters
from voicelab.ui.generate import Controls, engine_choices
from voicelab.ui.rows import take_list

__all__ = ["build", "check_owner"]

PAGE_SIZE = 20
CLICKS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (!button) return;
  const id = button.closest('[data-id]').dataset.id;
  const act = button.dataset.act;
  if (act === 'delete' && !confirm('Delete this take and its audio?')) return;
  trigger('click', {id, act});
});
"""


def check_owner(lab: VoiceLab) -> None:
    """Raise Forbidden when the server is open to everybody: then nobody may delete."""
    if lab.settings.is_exposed:
        raise Forbidden("Nothing can be deleted while the server is open to everybody.")


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
    takes = gr.HTML(take_list([], False), js_on_load=CLICKS, elem_id="vl-history", padding=False)
    with gr.Row():
        newer = gr.Button("Newer", size="sm", interactive=False)
        place = gr.HTML("", elem_classes="vl-muted", padding=False)
        older = gr.Button("Older", size="sm", interactive=False)
        upload = gr.UploadButton("Import a take (ZIP)", file_types=[".zip"], size="sm")
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
        return [
            take_list(records, filters.any),
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
        id, wanted = str(event._data["id"]), event._data["act"]
        unchanged = [gr.skip() for _ in controls.outputs]
        try:
            if wanted == "reuse":
                filled = controls.values(lab, lab.history.get(id))
                return [*(gr.skip() for _ in shown), gr.Tabs(selected="generate"), *filled]
            if wanted == "favorite":
                lab.history.toggle_favorite(id)
            elif wanted == "delete":
                check_owner(lab)
                lab.delete(id)
        except VoicelabError as error:
            gr.Warning(str(error))
        return [*show(at, words, status, engine, favorite), gr.skip(), *unchanged]

    takes.click(act, [offset, *filters], [*shown, tabs, *controls.outputs], **quiet)

    def bring(path: str, *values: Any) -> list[Any]:
        try:
            with Path(path).open("rb") as file:
                record = lab.import_archive(file)[0]
        except VoicelabError as error:
            raise gr.Error(str(error), print_exception=False) from error
        gr.Info(f"Imported a take of {record['duration']:.1f} s.")
        return show(0, *values)

    upload.upload(bring, [upload, *filters], shown, api_visibility="private")
