"""The Stats tab: totals, plots, storage, and running requests."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pandas

from voicelab.generation import memory_info
from voicelab.lab import VoiceLab
from voicelab.ui.components import policy
from voicelab.ui.components.events import HIDDEN
from voicelab.ui.components.figures import cards
from voicelab.ui.components.templates import size

__all__ = ["build"]

LIVE_POLL_S = 2.0
COLUMNS = ("created_at", "engine", "profile_id", "duration", "real_time_factor")
LIVE = ["request", "status", "progress", "step", "engine", "source", "text"]


def build(lab: VoiceLab, tab: gr.Tab) -> None:
    """Add the tab's components to the current block."""
    totals = gr.HTML(padding=False)
    with gr.Row():
        days = gr.BarPlot(None, x="day", y="takes", title="Takes per day", height=240, sort=None)
        engines = gr.BarPlot(None, x="engine", y="takes", title="Takes by engine", height=240)
    with gr.Row():
        voices = gr.BarPlot(None, x="voice", y="minutes", title="Minutes by voice", height=240)
        factors = gr.BarPlot(
            None,
            x="engine",
            y="real-time factor",
            title="Real-time factor (median)",
            height=240,
        )
    gr.HTML("<h3>Storage</h3>", padding=False)
    with gr.Row():
        space = gr.BarPlot(None, x="what", y="MB", title="What takes the space", height=240)
        owners = gr.BarPlot(None, x="voice", y="MB", title="By voice", height=240)
        ages = gr.BarPlot(None, x="age", y="MB", title="By age", height=240, sort=None)
    cleanup = policy.build(lab)
    gr.HTML("<h3>Requests</h3>", padding=False)
    live = gr.Dataframe(headers=LIVE, interactive=False, wrap=True, show_label=False)
    timer = gr.Timer(LIVE_POLL_S, active=False)

    def refresh() -> list[Any]:
        frame = _takes(lab)
        counters = (_per_day, _per_engine, _per_voice, _speed)
        return [_cards(lab), *(_bars(count(frame)) for count in counters), *_space(lab)]

    plots = [days, engines, voices, factors, space, owners, ages]
    tab.select(refresh, None, [totals, *plots], **HIDDEN)
    tab.select(cleanup.show, None, cleanup.outputs, **HIDDEN)
    tab.select(lambda: (_requests(lab), gr.Timer(active=True)), None, [live, timer], **HIDDEN)
    timer.tick(lambda: (_requests(lab), _cards(lab)), None, [live, totals], **HIDDEN)


def _takes(lab: VoiceLab) -> pandas.DataFrame:
    """The columns of all takes that the plots need."""
    frame = lab.history.to_pandas(columns=COLUMNS)
    frame["voice"] = frame["profile_id"].map(lab.library.profiles.names()).fillna("Unassigned")
    for name in ("duration", "real_time_factor"):
        frame[name] = pandas.to_numeric(frame[name])
    return frame


def _cards(lab: VoiceLab) -> str:
    takes, requests, memory = lab.history.stats(), lab.status.statistics(), memory_info()
    return cards(
        [
            ("takes", f"{takes['total_generations']:,}"),
            ("minutes of sound", f"{takes['total_duration_seconds'] / 60:.1f}"),
            ("on disk", size(takes["total_size_bytes"])),
            ("requests", f"{requests['total_requests']:,}"),
            ("succeeded", f"{requests['success_rate']:.1f} %"),
            ("real-time factor", f"{takes['average_real_time_factor']:.2f}"),
            ("memory", f"{memory['cpu_memory_mb']:,.0f} MB"),
        ]
    )


def _space(lab: VoiceLab) -> list[gr.BarPlot]:
    usage = lab.library.storage.usage()
    folders = [(n, usage[f"{n}_bytes"]) for n in ("takes", "clips", "profiles", "cache", "records")]
    profiles = [(e["profile_name"], e["size_bytes"]) for e in usage["by_profile"][:8]]
    ages = [(e["label"], e["size_bytes"]) for e in usage["by_age"]]
    parts = (("what", folders), ("voice", profiles), ("age", ages))
    return [
        _bars(pandas.DataFrame([(n, b / 1e6) for n, b in rows], columns=[name, "MB"]))
        for name, rows in parts
    ]


def _bars(frame: pandas.DataFrame) -> gr.BarPlot:
    """A bar plot with an axis from zero; Gradio's axis starts at the smallest value."""
    highest = float(frame.iloc[:, 1].max()) if len(frame) else 1.0
    return gr.BarPlot(frame, y_lim=[0.0, highest * 1.1 or 1.0])


def _per_day(frame: pandas.DataFrame) -> pandas.DataFrame:
    days = frame["created_at"].dt.floor("D").value_counts().sort_index()
    return pandas.DataFrame({"day": days.index.strftime("%Y-%m-%d"), "takes": days.to_numpy()})


def _per_engine(frame: pandas.DataFrame) -> pandas.DataFrame:
    return frame["engine"].value_counts().rename_axis("engine").reset_index(name="takes")


def _per_voice(frame: pandas.DataFrame) -> pandas.DataFrame:
    minutes = frame["duration"].fillna(0).groupby(frame["voice"]).sum() / 60
    return minutes.round(2).rename_axis("voice").reset_index(name="minutes")


def _speed(frame: pandas.DataFrame) -> pandas.DataFrame:
    factor = frame["real_time_factor"].groupby(frame["engine"]).median()
    return factor.dropna().round(3).rename_axis("engine").reset_index(name="real-time factor")


def _requests(lab: VoiceLab) -> list[list[str]]:
    """Rows of the running requests, then of the latest finished ones."""
    ended = lab.status.history(10)["request_history"]
    return [
        [
            request["request_id"],
            request["status"],
            f"{request['progress']['progress_percentage']:.0f} %",
            request["error_message"] or request["progress"]["current_step"],
            request["engine"] or "",
            request["source"],
            request["text_preview"],
        ]
        for request in (*lab.status.live(), *ended)
    ]
