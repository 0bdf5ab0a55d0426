"""The engines' parameters as fields of bodies: what the registry knows, in pydantic's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import Field, create_model

from voicelab.engines import Registry
from voicelab.rest.schemas import Spoken

__all__ = ["taking", "with_parameters"]

Model = TypeVar("Model", bound=Spoken)
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def with_parameters(model: type[Model], registry: Registry) -> type[Model]:
    """The body with a field for each parameter of each engine: null is the engine's default.

    The field has the widest range of all engines; the one that speaks checks its own.
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
    """The endpoint with this model as its body.

    FastAPI finds the model in the annotation, which names the one without parameters: the model
    with them is made when the registry is.
    """
    endpoint.__annotations__["body"] = body
    return endpoint
