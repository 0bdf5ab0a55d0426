"""ASGI middleware for authentication, origins, limits and headers, before the whole application."""

from voicelab.rest.security.exposure import refuse_when_exposed
from voicelab.rest.security.layers import GradioFiles, application_arguments, middleware

__all__ = ["GradioFiles", "middleware", "refuse_when_exposed", "application_arguments"]
