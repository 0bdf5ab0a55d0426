"""Named endpoints for the Gradio client and MCP; the page itself does not use them."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from voicelab.errors import InvalidInput, VoicelabError
from voicelab.lab import VoiceLab
from voicelab.library import Filters, Missing, archive_name
from voicelab.records import RANDOM_SEED, GenerationRequest
from voicelab.ui.components.errors import check_may_delete
from voicelab.ui.tools import numbers

__all__ = ["build"]

Endpoint = Callable[..., Any]


def build(lab: VoiceLab) -> None:
    """Add the endpoints to the current Blocks, over hidden components."""
    with gr.Row(visible=False):
        _generate(lab)
        for function, inputs, output in (
            *_read_endpoints(lab),
            *_change_endpoints(lab),
            *_archive_endpoints(lab),
        ):
            gr.Button(function.__name__).click(
                _with_errors(function), inputs, output, api_name=function.__name__
            )


def _with_errors(function: Endpoint) -> Endpoint:
    """The function with VoicelabErrors raised as gradio.Error, whose message clients show."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except VoicelabError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return wrapped


def _whole_number(name: str, value: float | None, default: int) -> int:
    if value is None:
        return default
    if not math.isfinite(value) or value != int(value):
        raise InvalidInput(f"{name} is {value}; a whole number is wanted.", param=name)
    return int(value)


def _generate(lab: VoiceLab) -> None:
    def generate(
        text: str,
        engine: str | None = None,
        language: str | None = None,
        voice: str | None = None,
        voice_clip: str | None = None,
        seed: float | None = None,
        speed: float | None = 1.0,
        parameters: dict[str, float] | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio finds it by its default
    ) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """Speak a text and keep the take.

        Args:
            text: what to say.
            engine: one of /status's engines; null takes the default.
            language: BCP 47 code; null takes the engine's first.
            voice: name of a profile; null takes the default.
            voice_clip: 2-30 s of a voice to imitate, for engines that can.
            seed: 0 to 2**32 - 1; null or -1 draws one.
            speed: 0.25 to 4, the pitch kept; null is 1.
            parameters: the engine's own, by name.

        Returns:
            The audio file (null until it is finished), and the record; before that the progress.
        """
        request = GenerationRequest(
            text=text,
            engine=engine or None,
            language=language or None,
            voice=voice or None,
            voice_clip=Path(voice_clip) if voice_clip else None,
            seed=_whole_number("seed", seed, RANDOM_SEED),
            speed=1.0 if speed is None else speed,
            parameters=parameters or {},
            source="client",
        )
        try:
            with lab.stream(request) as take:
                yield None, take.live.snapshot()
                for piece in take:
                    if piece.chunk is not None:
                        progress((piece.chunk.index + 1, piece.total_chunks), unit="chunks")
                        yield None, take.live.snapshot()
            yield str(lab.library.audio_path(take.id)), take.record
        except VoicelabError as error:
            raise gr.Error(str(error), print_exception=False) from error

    inputs = [
        gr.Textbox(label="text"),
        *(gr.Textbox(label=name) for name in ("engine", "language", "voice")),
        gr.Audio(label="voice_clip", type="filepath"),
        gr.Number(label="seed", precision=0),
        gr.Number(1.0, label="speed"),
        numbers("parameters"),
    ]
    outputs = [gr.Audio(label="audio", type="filepath"), gr.JSON(label="record")]
    gr.Button("generate").click(generate, inputs, outputs, api_name="generate")


def _read_endpoints(lab: VoiceLab) -> list[tuple[Endpoint, list[Any], Any]]:
    def history(
        search: str | None = None,
        limit: float | None = 50,
        offset: float | None = 0,
        favorite: bool | None = False,
    ) -> dict[str, Any]:
        """Find takes, newest first.

        Args:
            search: words that must all occur.
            limit: 1 to 500.
            offset: how many to pass over.
            favorite: favourites only.
        """
        filters = Filters(search=search, favorite=favorite or None)
        items, total = lab.history.list(
            filters,
            limit=_whole_number("limit", limit, 50),
            offset=_whole_number("offset", offset, 0),
        )
        return {"items": items, "total": total}

    def history_item(id: str) -> dict[str, Any]:
        """One take with its versions.

        Args:
            id: of the take.
        """
        return lab.history.get(id)

    def stats() -> dict[str, Any]:
        """Totals of takes and requests."""
        return lab.stats()

    def status() -> dict[str, Any]:
        """What runs now, and the engines there are."""
        return lab.status.current() | {"engines": list(lab.registry.names)}

    def voices() -> list[dict[str, Any]]:
        """The voices there are."""
        return lab.library.profiles.list()

    search_inputs = [
        gr.Textbox(label="search"),
        gr.Number(50, label="limit", precision=0),
        gr.Number(0, label="offset", precision=0),
        gr.Checkbox(False, label="favorite"),
    ]
    return [
        (history, search_inputs, gr.JSON(label="takes")),
        (history_item, [gr.Textbox(label="id")], gr.JSON(label="record")),
        (stats, [], gr.JSON(label="stats")),
        (status, [], gr.JSON(label="status")),
        (voices, [], gr.JSON(label="voices")),
    ]


def _change_endpoints(lab: VoiceLab) -> list[tuple[Endpoint, list[Any], Any]]:
    def delete(id: str) -> dict[str, Any]:
        """Delete a take and its audio.

        Args:
            id: of the take.
        """
        check_may_delete(lab)
        lab.library.delete(id)
        return {"message": "Generation deleted successfully"}

    def favorite(id: str) -> dict[str, Any]:
        """Make a take a favourite, or no longer.

        Args:
            id: of the take.
        """
        return {"is_favorited": lab.history.toggle_favorite(id)}

    def cancel(request_id: str) -> dict[str, Any]:
        """Stop a running request.

        Args:
            request_id: from /status or the first answer of /generate.
        """
        lab.cancel(request_id)
        return {"message": f"Request {request_id} is being cancelled."}

    return [
        (delete, [gr.Textbox(label="id")], gr.JSON(label="answer")),
        (favorite, [gr.Textbox(label="id")], gr.JSON(label="answer")),
        (cancel, [gr.Textbox(label="request_id")], gr.JSON(label="answer")),
    ]


def _archive_endpoints(lab: VoiceLab) -> list[tuple[Endpoint, list[Any], Any]]:
    def export(id: str) -> str:
        """A take as a ZIP.

        Args:
            id: of the take.
        """
        record = lab.history.get(id)
        # Gradio copies what it serves; the folder is the system's to clean.
        path = Path(tempfile.mkdtemp(prefix="voicelab-"), archive_name(record["text"]))
        missing = Missing()
        path.write_bytes(lab.library.archives.export_take(id, missing))
        if missing.entries:
            gr.Warning(f"Left out, because their files are gone: {', '.join(missing.ids)}")
        return str(path)

    def import_take(file: str) -> dict[str, Any]:
        """Add the take of a ZIP.

        Args:
            file: from /export, or of a voice studio.
        """
        with Path(file).open("rb") as archive:
            return lab.library.archives.import_takes(archive)[0]

    import_take.__name__ = "import"
    return [
        (export, [gr.Textbox(label="id")], gr.File(label="zip")),
        (import_take, [gr.File(label="file", type="filepath")], gr.JSON(label="record")),
    ]
