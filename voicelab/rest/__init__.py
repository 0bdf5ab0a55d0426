"""The documented REST routes as a FastAPI application; `server.py` adds its routes to Gradio's."""

from voicelab.rest.application import build
from voicelab.rest.errors import error_response
from voicelab.rest.security.layers import GradioFiles, application_arguments, middleware

__all__ = [
    "GradioFiles",
    "build",
    "error_response",
    "middleware",
    "application_arguments",
]
