"""Pydantic fields for the parameters of all registered engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import Field, create_model

from voicelab.engines import Registry
from voicelab.rest.schemas import SpeechOptions

__all__ = ["taking", "with_parameters"]

Model = TypeVar("Model", bound=SpeechOptions)
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def with_parameters(model: type[Model], registry: Registry) -> type[Model]:
    """A subclass of a body with one field per engine parameter; null is the engine's default.

    The range of a field is the widest of all engines; the engine that speaks checks its own.

    Args:
        model: the body class.
        registry: the engines.
    """
    fields: dict[str, Any] = {
        each.name: (
            float | None,
            Field(None, ge=each.minimum, le=each.maximum, description=each.help),
        )
        for each in registry.parameters.values()
    }
    made = create_model(
        model.__name__,
        __base__=model,
        __doc__=model.__doc__,
        __module__=model.__module__,
        **fields,
    )
    made.parameter_names = tuple(fields)
    return made


def taking(body: type[Model], endpoint: Endpoint) -> Endpoint:
    """Set the class of an endpoint's argument `body`, and return the endpoint.

    FastAPI reads the class from the annotation. The class with parameters is made after the
    registry, so that it cannot be written in the source.
    """
    endpoint.__annotations__["body"] = body
    return endpoint
