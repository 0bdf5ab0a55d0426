"""The documented routes, as an application of their own; `server.py` grafts it on Gradio's."""

from voicelab.rest.application import build
from voicelab.rest.security.layers import Kept, middleware, outermost

__all__ = [
    "Kept",
    "build",
    "middleware",
    "outermost",
]
