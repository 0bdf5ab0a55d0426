"""The Generate tab: speaks a text and plays it while it is made."""

from __future__ import annotations

import math
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from voicelab.audio import wav_bytes
from voicelab.errors import Cancelled, NotFound, VoicelabError
from voicelab.generation import Piece, Take
from voicelab.lab import VoiceLab
from voicelab.records import MAX_SEED, GenerationRequest
from voicelab.ui.components.controls import (
    Controls,
    engine_choices,
    language_choice,
    voice_choices,
)
from voicelab.ui.components.errors import with_gradio_errors
from voicelab.ui.components.events import HIDDEN
from voicelab.ui.components.scripts import script
from voicelab.ui.components.takes import chunk_list, take_facts
from voicelab.ui.components.templates import clock

__all__ = ["build"]

EXAMPLES = [
    "The fjord was quiet. A single boat drew a line across the water, and then even that was gone.",
    "Dr. Lindqvist paid 3,000.50 euros for the clock. [pause:500ms] It never worked.",
    "Chapter one.\n\nIt was a bright cold day in April, and the clocks were striking thirteen.",
]
UPDATE_S = 1.0
"""Minimum seconds between two updates while further pieces are available."""

MAX_AHEAD_S = 300.0
"""Seconds of audio streamed ahead of playback; encoding more would delay the take."""


def build(lab: VoiceLab, tab: gr.Tab) -> Controls:
    """Add the tab's components to the current block; its inputs."""
    with gr.Row():
        with gr.Column(scale=3):
            text = gr.Textbox(
                label="Text",
                info="Ctrl+Enter speaks it. [pause:500ms] is a pause, a blank line a longer one.",
                lines=7,
                max_lines=24,
                elem_id="vl-text",
                placeholder="Write or paste what you want to hear",
            )
            count = gr.HTML("0 characters", elem_classes="vl-muted", padding=False)
            with gr.Row():
                speak = gr.Button("Generate", variant="primary", elem_id="vl-generate", scale=3)
                stop = gr.Button("Stop", elem_id="vl-stop", scale=1, interactive=False)
            result, live, whole, summary, chunks = _result()
            gr.Examples([[example] for example in EXAMPLES], [text], label="Examples")
        with gr.Column(scale=2):
            voice = gr.Dropdown(voice_choices(lab), value="default", label="Voice")
            engine, language, clip, groups, sliders = _voice(lab)
            speed, gap_ms, normalize, seed = _shape(lab)
    running, based_on, take_id = gr.State(), gr.State(""), gr.State("")

    text.change(None, text, count, js=script("text_length"), **HIDDEN)
    _follow_engine(lab, voice, engine, language, clip, groups)
    tab.select(lambda: gr.Dropdown(voice_choices(lab)), None, voice, **HIDDEN)
    shape = [voice, engine, language, clip, seed, speed, gap_ms, normalize]
    inputs = [text, based_on, *shape, *sliders.values()]
    outputs = [live, whole, summary, chunks, running, stop, result, take_id]
    # gradio 6.8 plays a stream a second time only when it was cleared before.
    shown: dict[str, Any] = {"api_visibility": "private", "show_progress_on": whole}
    speak.click(lambda: (None, None), None, [live, whole], **HIDDEN).then(
        _speak_handler(lab, list(sliders)), inputs, outputs, **shown
    )
    chunks.click(_chunk_handler(lab), take_id, outputs[1:], **shown)
    stop.click(_stop_handler(lab), running, None, **HIDDEN)
    voices = (voice, engine, language, seed)
    return Controls(text, based_on, *voices, speed, gap_ms, normalize, sliders)


def _result() -> tuple[gr.Column, gr.Audio, gr.Audio, gr.HTML, gr.HTML]:
    """The components that show and play a take, below the button that makes it."""
    with gr.Column(visible=False) as result:
        live = gr.Audio(
            label="While it is being made",
            # gradio 6.8 fails at the end of a stream that was never fed.
            streaming=_can_stream(),
            autoplay=True,
            interactive=False,
            visible=_can_stream(),
            elem_id="vl-live",
        )
        whole = gr.Audio(
            label="Take", type="filepath", interactive=False, elem_id="vl-take", visible=True
        )
        summary = gr.HTML(padding=False)
        with gr.Accordion("Chunks", open=True):
            chunks = gr.HTML(padding=False, elem_id="vl-chunks", js_on_load=script("chunks"))
    return result, live, whole, summary, chunks


def _can_stream() -> bool:
    return shutil.which("ffmpeg") is not None


def _voice(lab: VoiceLab) -> tuple[Any, Any, Any, dict[str, Any], dict[tuple[str, str], Any]]:
    choices = engine_choices(lab)
    engine = gr.Dropdown(choices, value=lab.registry.default, label="Engine", filterable=False)
    language = language_choice(lab, lab.registry.default)
    clip = gr.Audio(
        label="Voice clip (2-30 s, optional)",
        sources=["upload", "microphone"],
        type="filepath",
        visible=lab.registry.info().clones_voices,
    )
    groups, sliders = {}, {}
    for _, name in choices:
        with gr.Group(visible=name == lab.registry.default) as groups[name]:
            for p in lab.registry.info(name).parameters:
                sliders[name, p.name] = gr.Slider(
                    p.minimum, p.maximum, p.default, step=p.step, label=p.label, info=p.help or None
                )
    return engine, language, clip, groups, sliders


def _shape(lab: VoiceLab) -> tuple[Any, Any, Any, Any]:
    with gr.Row():
        seed = gr.Textbox(label="Seed", placeholder="random", max_length=10, scale=3)
        random_seed = gr.Button("Roll", elem_classes="vl-tight", scale=1)
    with gr.Accordion("Pace and joins", open=False):
        speed = gr.Slider(0.25, 4.0, 1.0, step=0.05, label="Speed (the pitch is kept)")
        gap_ms = gr.Slider(
            0, 2000, lab.settings.gap_ms, step=10, label="Silence between sentences (ms)"
        )
        normalize = gr.Checkbox(False, label="Same loudness for every sentence")
    random_seed.click(lambda: str(random.randint(0, MAX_SEED)), None, seed, **HIDDEN)
    return speed, gap_ms, normalize, seed


def _follow_engine(
    lab: VoiceLab, voice: Any, engine: Any, language: Any, clip: Any, groups: dict[str, Any]
) -> None:
    """Show what the selected engine supports; a voice selects its engine and language."""

    def engine_updates(name: str, spoken: str | None = None) -> list[Any]:
        cloning = gr.Audio(visible=lab.registry.info(name).clones_voices, value=None)
        shown = [gr.Group(visible=owner == name) for owner in groups]
        return [language_choice(lab, name, spoken), cloning, *shown]

    def choose_voice(id: str, chosen: str) -> list[Any]:
        profile = with_gradio_errors(lab.library.profiles.get, id)
        name = profile["default_engine"] if profile["default_engine"] in groups else chosen
        return [name, *engine_updates(name, profile["language"])]

    followers = [language, clip, *groups.values()]
    engine.input(engine_updates, engine, followers, api_visibility="private")
    voice.input(choose_voice, [voice, engine], [engine, *followers], api_visibility="private")


def _speak_handler(lab: VoiceLab, names: list[tuple[str, str]]) -> Any:
    def speak(
        text: str,
        based_on: str,
        voice: str,
        engine: str,
        language: str,
        clip: str | None,
        seed: str,
        speed: float,
        gap_ms: float,
        normalize: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio finds it by its default
        *values: float,
    ) -> Iterator[list[Any]]:
        parameters = {
            name: value
            for (owner, name), value in zip(names, values, strict=True)
            if owner == engine
        }
        try:
            request = GenerationRequest(
                text=text,
                based_on=_edited_take(lab, based_on, seed),
                voice=voice,
                engine=engine,
                language=language,
                voice_clip=Path(clip) if clip else None,
                seed=_seed(seed),
                speed=speed,
                gap_ms=int(gap_ms),
                normalize=normalize,
                parameters=parameters,
                source="ui",
                listening=True,
            )
            with lab.stream(request) as take:
                yield from _updates(lab, take, progress)
        except Cancelled:
            gr.Info("Stopped.")
            yield _update(stop=False)
        except VoicelabError as error:
            raise gr.Error(str(error), print_exception=False, duration=None) from error

    return speak


def _edited_take(lab: VoiceLab, id: str, seed: str) -> str | None:
    """Id of the take that was used again, as long as its seed is unchanged."""
    try:
        is_unchanged = bool(id) and str(lab.history.get(id)["seed"]) == seed.strip()
    except NotFound:  # deleted meanwhile
        return None
    return id if is_unchanged else None


def _chunk_handler(lab: VoiceLab) -> Any:
    def speak_chunk(
        id: str,
        event: gr.EventData,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio finds it by its default
    ) -> Iterator[list[Any]]:
        try:
            with lab.regenerate_chunk(id, int(event._data["index"])) as take:
                for update in _updates(lab, take, progress, live=False):
                    yield update[1:]  # but for the stream, which is not fed
        except Cancelled:
            yield _update(stop=False)[1:]
        except VoicelabError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return speak_chunk


def _seed(text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise gr.Error("The seed is a whole number, or empty.", print_exception=False)
    return int(text)


def _updates(
    lab: VoiceLab, take: Take, progress: gr.Progress, live: bool = True
) -> Iterator[list[Any]]:
    """Updates of the page while a take is made; with `live`, audio for the stream."""
    done: list[dict[str, Any]] = []
    live = live and _can_stream()
    played_s, began = 0.0, time.monotonic()
    yield _update(running=take.request_id, stop=True, result=True)
    progress((0, take.total_chunks), desc="Waiting for the engine", unit="chunks")
    for pieces in _batched_pieces(take):
        done += [asdict(piece.chunk) for piece in pieces if piece.chunk is not None]
        progress((len(done), take.total_chunks), desc=_remaining(take, len(done)), unit="chunks")
        playable = np.zeros(0, np.int16)
        if live:
            pcm = np.concatenate([piece.pcm for piece in pieces])
            until_s = time.monotonic() - began + MAX_AHEAD_S + 2 * (_left_s(take) or 0.0)
            playable = pcm[: max(0, int((until_s - played_s) * take.sample_rate))]
            played_s += len(playable) / take.sample_rate
            live = len(playable) == len(pcm)  # nothing after a gap
        yield _update(
            live=wav_bytes(playable, take.sample_rate) if len(playable) else None,
            chunks=chunk_list(done),
        )
    record = take.record
    yield _update(
        whole=str(lab.library.audio_path(record["id"])),
        summary=take_facts(record),
        chunks=chunk_list(record["chunks"], again=True),
        stop=False,
        take_id=record["id"],
    )


def _batched_pieces(take: Take) -> Iterator[list[Piece]]:
    """The pieces of a take: the first alone, then all available ones together.

    An update of the page takes a quarter of a second, in which a fast engine speaks many chunks.
    """
    pieces: list[Piece] = []
    updated = -math.inf
    for piece in take:
        pieces.append(piece)
        if not take.ready or time.monotonic() - updated > UPDATE_S:
            yield pieces
            pieces, updated = [], time.monotonic()


def _left_s(take: Take) -> float | None:
    end = take.live.progress()["estimated_completion"]
    return None if end is None else max(0.0, end - take.live.now())


def _remaining(take: Take, done: int) -> str:
    left_s = _left_s(take)
    if left_s is None or done == take.total_chunks:
        return f"Chunk {done}/{take.total_chunks}"
    return f"Chunk {done}/{take.total_chunks}, {clock(left_s)} left"


def _update(
    live: bytes | None = None,
    whole: str | None = None,
    summary: str | None = None,
    chunks: str | None = None,
    running: str | None = None,
    stop: bool | None = None,
    result: bool | None = None,
    take_id: str | None = None,
) -> list[Any]:
    """New values in the order of the outputs; None leaves a value unchanged."""
    plain = [
        gr.skip() if value is None else value for value in (live, whole, summary, chunks, running)
    ]
    return [
        *plain,
        gr.skip() if stop is None else gr.Button(interactive=stop),
        gr.skip() if result is None else gr.Column(visible=result),
        gr.skip() if take_id is None else take_id,
    ]


def _stop_handler(lab: VoiceLab) -> Any:
    def stop(request_id: str | None) -> None:
        if request_id:
            try:
                lab.cancel(request_id)
            except VoicelabError as error:
                gr.Info(str(error))

    return stop
