"""The History tab: find a take, hear it, use it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from voicelab.errors import VoicelabError
from voicelab.lab import VoiceLab
from voicelab.library import Filters
from voicelab.ui.components import drawer
from voicelab.ui.components.errors import check_may_delete
from voicelab.ui.components.scripts import marked, script
from voicelab.ui.components.takes import bulk_bar, take_list
from voicelab.ui.tabs.generate import Controls, engine_choices

__all__ = ["build"]

PAGE_SIZE = 20
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
    versions = drawer.build(lab)
    takes = gr.HTML(
        take_list([], False),
        js_on_load=script("ordered_clicks", "history"),
        elem_id="vl-history",
        padding=False,
    )
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
        names = sorted(lab.library.profiles.names().items(), key=lambda pair: pair[1])
        return [
            marked((bulk_bar(names) if records else "") + take_list(records, filters.any)),
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
        opened = [gr.skip() for _ in versions.outputs]
        filled = [gr.skip() for _ in controls.outputs]
        tab = gr.skip()
        try:
            if wanted == "reuse":
                filled = controls.values(lab, lab.history.get(str(data["id"])))
                tab = gr.Tabs(selected="generate")
            elif wanted == "open":
                opened = versions.show(str(data["id"]))
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
        [*shown, tabs, *controls.outputs, *versions.outputs],
        trigger_mode="multiple",
        **quiet,
    )

    def bring(path: str, *values: Any) -> list[Any]:
        try:
            with Path(path).open("rb") as file:
                records = lab.library.archives.import_takes(file)
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
        check_may_delete(lab)
        lab.library.delete(str(data["id"]))
    else:
        _change_many(lab, wanted, [str(id) for id in data["ids"]], str(data["value"]))


def _change_many(lab: VoiceLab, wanted: str, ids: list[str], value: str) -> None:
    if wanted == "many-delete":
        check_may_delete(lab)
        lab.library.delete_many(ids)
    elif wanted == "many-favorite":
        lab.history.change_many(ids, is_favorited=True)
    elif wanted == "many-tag":
        lab.history.change_many(ids, add_tags=[value])
    elif wanted == "many-move":
        lab.history.change_many(ids, profile_id=value)
