"""The one shape of errors, as tests look at it."""

from __future__ import annotations

from typing import Any


def is_envelope(answer: Any) -> bool:
    """Whether an answer is an error in the one shape, with the same text at `detail` if at all."""
    body = answer.json()
    error = body.pop("error", {})
    message = error.get("message")
    return bool(message) and "type" in error and body in ({}, {"detail": message})
