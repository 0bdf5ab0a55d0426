"""The documented routes, as an application of their own; `server.py` grafts it on Gradio's."""

from voicelab.rest.application import build
from voicelab.rest.errors import answer
from voicelab.rest.security.layers import Kept, middleware, outermost

__all__ = [
    "answer",
    "Kept",
    "build",
    "middleware",
    "outermost",
]
