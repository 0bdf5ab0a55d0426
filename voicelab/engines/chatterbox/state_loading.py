"""Loading of weights without random initialization and without a second copy in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["StateFromFiles", "owned"]

DRAWN = frozenset(
    {
        *("uniform_", "normal_", "trunc_normal_", "orthogonal_"),
        *("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"),
    }
)
"""What fills new parameters, in torch.nn.init and of a tensor itself."""


class StateFromFiles(TorchFunctionMode):
    """While this thread builds modules and loads their state.

    Upstream draws half a billion numbers to overwrite them, and copies what the file's own
    memory map holds. Only for models whose parameters are all in their files: what is not loaded
    has any value.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """See `TorchFunctionMode`."""
        given = kwargs or {}
        if getattr(func, "__name__", "") in DRAWN:
            return args[0] if args else given["tensor"]
        if func is torch.Tensor.copy_ and _may_take(*args[:2]):
            args[0].data = args[1]
            return args[0]
        return func(*args, **given)


def owned(module: nn.Module, *but: str) -> None:
    """Copy what still lies in a file, which may change; its map ends with the last tensor.

    Args:
        but: beginnings of the names of tensors to leave.
    """
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_cpu and not name.startswith(but):
            tensor.data = tensor.data.clone()


def _may_take(target: Any, source: Any) -> bool:
    alike = ("dtype", "shape", "device")
    return isinstance(target, nn.Parameter) and all(
        getattr(target, name) == getattr(source, name) for name in alike
    )
