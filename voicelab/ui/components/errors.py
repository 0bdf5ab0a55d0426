"""VoicelabErrors as messages of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from voicelab.errors import Forbidden, VoicelabError
from voicelab.lab import VoiceLab

__all__ = ["check_may_delete", "with_gradio_errors"]


def check_may_delete(lab: VoiceLab) -> None:
    """Raise Forbidden when the server is open to everybody."""
    if lab.settings.is_exposed:
        raise Forbidden("Nothing can be deleted while the server is open to everybody.")


def with_gradio_errors(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a function, with VoicelabErrors raised as gradio.Error, whose message the page shows.

    Raises:
        gradio.Error: with the message of a VoicelabError.
    """
    try:
        return function(*arguments, **named)
    except VoicelabError as error:
        raise gr.Error(str(error), print_exception=False) from error
