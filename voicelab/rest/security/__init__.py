"""Who may ask, from where, and how much: ASGI middleware before the whole application."""

from voicelab.rest.security.exposure import refuse_when_exposed
from voicelab.rest.security.layers import Kept, middleware, outermost

__all__ = ["Kept", "middleware", "refuse_when_exposed", "outermost"]
