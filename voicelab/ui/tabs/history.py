"""The History tab: search takes, play them, use their settings again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from voicelab.errors import VoicelabError
from voicelab.lab import VoiceLab
from voicelab.library import Filters
from voicelab.ui.components import drawer
from voicelab.ui.components.controls import Controls, engine_choices
from voicelab.ui.components.errors import check_may_delete, with_gradio_errors
from voicelab.ui.components.events import HIDDEN
from voicelab.ui.components.scripts import script, with_render_mark
from voicelab.ui.components.takes import bulk_bar, take_list

__all__ = ["build"]

PAGE_SIZE = 20
KEYS = (
    "Keys on a take: arrows move, Enter plays, Space selects, F favourite, E versions and effects, "
    "U use again, Delete deletes."
)


def build(lab: VoiceLab, controls: Controls, tabs: gr.Tabs, tab: gr.Tab) -> None:
    """Add the tab's components to the current block."""
    filters = _filters(lab)
    versions = drawer.build(lab)
    pages, upload = _pages()
    gr.HTML(
        f"<p class='vl-muted'>{KEYS} All takes as <a href='history/export?format=csv' download>CSV"
        "</a> or <a href='history/export?format=jsonl' download>JSONL</a>.</p>",
        padding=False,
    )
    handlers, shown = _Handlers(lab, controls, versions), pages.outputs
    gr.on(
        [tab.select, filters.search.change, *(each.input for each in filters.choices)],
        handlers.first,
        filters.fields,
        shown,
        trigger_mode="always_last",
        **HIDDEN,
    )
    at = [pages.offset, *filters.fields]
    pages.newer.click(handlers.newer, at, shown, **HIDDEN)
    pages.older.click(handlers.older, at, shown, **HIDDEN)
    pages.takes.click(
        handlers.act,
        at,
        [*shown, tabs, *controls.outputs, *versions.outputs],
        trigger_mode="multiple",
        **HIDDEN,
    )
    upload.upload(handlers.import_zip, [upload, *filters.fields], shown, api_visibility="private")


@dataclass(frozen=True)
class _Filters:
    """The components that filter the list."""

    search: gr.Textbox
    choices: list[Any]

    @property
    def fields(self) -> list[Any]:
        return [self.search, *self.choices]


@dataclass(frozen=True)
class _Pages:
    """The list of takes and its paging buttons."""

    takes: gr.HTML
    place: gr.HTML
    newer: gr.Button
    older: gr.Button
    offset: gr.State

    @property
    def outputs(self) -> list[Any]:
        """In the order of `_Handlers.show`."""
        return [self.takes, self.place, self.newer, self.older, self.offset]


def _filters(lab: VoiceLab) -> _Filters:
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
    return _Filters(search, [status, engine, favorite])


def _pages() -> tuple[_Pages, gr.UploadButton]:
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
    return _Pages(takes, place, newer, older, gr.State(0)), upload


class _Handlers:
    """Event handlers of the tab; `values` are those of `_Filters.fields`.

    Args:
        lab: whose history.
        controls: of the Generate tab, filled by "Use again".
        versions: the drawer that shows a take.
    """

    def __init__(self, lab: VoiceLab, controls: Controls, versions: drawer.Drawer):
        self._lab, self._controls, self._versions = lab, controls, versions

    def show(self, offset: int, *values: Any) -> list[Any]:
        """The page of takes from `offset` on, or the last page if there is none."""
        search, status, engine, favorite = values
        filters = Filters(
            search=search, status=status or None, engine=engine or None, favorite=favorite or None
        )
        records, total = self._lab.history.list(filters, limit=PAGE_SIZE, offset=offset)
        if not records and total:
            return self.show(max(0, offset - PAGE_SIZE), *values)
        last = offset + len(records)
        names = sorted(self._lab.library.profiles.names().items(), key=lambda pair: pair[1])
        return [
            with_render_mark(
                (bulk_bar(names) if records else "") + take_list(records, filters.any)
            ),
            f"{offset + 1}\u2013{last} of {total:,}" if total else "",
            gr.Button(interactive=offset > 0),
            gr.Button(interactive=last < total),
            offset,
        ]

    def first(self, *values: Any) -> list[Any]:
        """The first page."""
        return self.show(0, *values)

    def newer(self, offset: int, *values: Any) -> list[Any]:
        """The previous page."""
        return self.show(max(0, offset - PAGE_SIZE), *values)

    def older(self, offset: int, *values: Any) -> list[Any]:
        """The next page."""
        return self.show(offset + PAGE_SIZE, *values)

    def act(
        self, at: int, search: str, status: str, engine: str, favorite: bool, event: gr.EventData
    ) -> list[Any]:
        """Handle a button of the list: values of the list, the tabs, the controls, the drawer."""
        action, data = event._data["act"], event._data
        opened = [gr.skip() for _ in self._versions.outputs]
        filled = [gr.skip() for _ in self._controls.outputs]
        tab = gr.skip()
        try:
            if action == "reuse":
                record = self._lab.history.get(str(data["id"]))
                filled = self._controls.values(self._lab, record)
                tab = gr.Tabs(selected="generate")
            elif action == "open":
                opened = self._versions.show(str(data["id"]))
            else:
                _change(self._lab, action, data)
        except VoicelabError as error:
            gr.Warning(str(error))
        listed = [gr.skip()] * 5
        if action not in ("reuse", "open"):
            listed = self.show(at, search, status, engine, favorite)
        return [*listed, tab, *filled, *opened]

    def import_zip(self, path: str, *values: Any) -> list[Any]:
        """Import the takes of an archive and show the first page."""
        with Path(path).open("rb") as file:
            records = with_gradio_errors(self._lab.library.archives.import_takes, file)
        gr.Info(f"Imported {len(records)} take{'s' if len(records) > 1 else ''}.")
        return self.first(*values)


def _change(lab: VoiceLab, action: str, data: dict[str, Any]) -> None:
    """Perform the action of a button on one take, or on the selected takes."""
    if action == "favorite":
        lab.history.toggle_favorite(str(data["id"]))
    elif action == "resume":
        lab.submit(lab.resume(str(data["id"])))
    elif action == "delete":
        check_may_delete(lab)
        lab.library.delete(str(data["id"]))
    else:
        _change_many(lab, action, [str(id) for id in data["ids"]], str(data["value"]))


def _change_many(lab: VoiceLab, action: str, ids: list[str], value: str) -> None:
    if action == "many-delete":
        check_may_delete(lab)
        lab.library.delete_many(ids)
    elif action == "many-favorite":
        lab.history.change_many(ids, is_favorited=True)
    elif action == "many-tag":
        lab.history.change_many(ids, add_tags=[value])
    elif action == "many-move":
        lab.history.change_many(ids, profile_id=value)
