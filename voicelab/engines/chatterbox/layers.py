"""Linear maps and convolutions over time steps of channels, with weights packed where it pays."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Convolution", "Linear", "Norm", "folded", "packs_bfloat16"]

PACKED = (
    *("_reorder_linear_weight", "_linear_pointwise"),
    *("_reorder_convolution_weight", "_convolution_pointwise"),
)
ROWS = 768
"""Rows and time steps that a packed layout is chosen for; others work as well."""


class Linear:
    """y = x W' + b over the last dimension.

    Args:
        weight: (out, in); it is copied where it is packed.
        bias: (out,) or None.
        dtype: of the weights and of what is given and returned.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, dtype: torch.dtype = torch.float32
    ):
        self._weight = weight.detach().to(dtype)
        self._bias = None if bias is None else bias.detach().to(dtype)
        self._kernels = _kernels(weight)
        if self._kernels:
            self._weight = self._kernels._reorder_linear_weight(self._weight.contiguous(), ROWS)

    @classmethod
    def of(cls, module: nn.Module, dtype: torch.dtype = torch.float32) -> Linear:
        """The same map as a torch Linear."""
        weight: Any = module.weight
        bias: Any = module.bias
        return cls(weight, bias, dtype=dtype)

    def __call__(self, x: Tensor, activation: str = "none") -> Tensor:
        """(..., in) -> (..., out); `activation` is none, gelu or swish."""
        if self._kernels:
            return self._kernels._linear_pointwise(
                x, self._weight, self._bias, activation, [], "none"
            )
        return _activated(functional.linear(x, self._weight, self._bias), activation)


class Convolution:
    """A convolution over time of (rows, time, channels), which is oneDNN's fastest layout.

    Args:
        weight: (out, in, kernel).
        bias: (out,) or None.
        padding: zeros on both sides.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        padding: int = 0,
        stride: int = 1,
        dilation: int = 1,
        dtype: torch.dtype = torch.float32,
    ):
        wide = weight.detach().to(dtype).unsqueeze(2)
        self._weight = wide.contiguous(memory_format=torch.channels_last)
        self._bias = None if bias is None else bias.detach().to(dtype)
        self._shape = ([0, padding], [1, stride], [1, dilation])
        self._kernels = _kernels(weight)
        if self._kernels:
            size = [1, weight.shape[1], 1, ROWS]
            self._weight = self._kernels._reorder_convolution_weight(
                self._weight, *self._shape, 1, size
            )

    @classmethod
    def of(cls, module: Any, dtype: torch.dtype = torch.float32) -> Convolution:
        """The same map as a torch Conv1d, weight-normed or not."""
        sizes = {name: getattr(module, name)[0] for name in ("padding", "stride", "dilation")}
        return cls(folded(module), module.bias, dtype=dtype, **sizes)

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, time, in) -> (rows, time, out), contiguous."""
        image = x.permute(0, 2, 1).unsqueeze(2)
        if self._kernels:
            y = self._kernels._convolution_pointwise(
                image, self._weight, self._bias, *self._shape, 1, "none", [], ""
            )
        else:
            padding, stride, dilation = self._shape
            y = functional.conv2d(image, self._weight, self._bias, stride, padding, dilation)
        return y.squeeze(2).permute(0, 2, 1).contiguous()


class Norm:
    """A layer norm over the last dimension."""

    def __init__(self, module: Any, dtype: torch.dtype = torch.float32):
        self._size = tuple(module.normalized_shape)
        self._weight = module.weight.detach().to(dtype)
        self._bias = module.bias.detach().to(dtype)
        self._epsilon = module.eps

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self._size, self._weight, self._bias, self._epsilon)


def folded(module: Any) -> Tensor:
    """The weight of a convolution as it is used: a weight norm computes it at each access."""
    return module.weight.detach().clone()


def packs_bfloat16() -> bool:
    """Whether oneDNN packs bfloat16 here; a limit of its instructions may forbid it."""
    try:
        Linear(torch.ones(16, 16), dtype=torch.bfloat16)
    except RuntimeError:
        return False
    return True


def _kernels(weight: Tensor) -> Any:
    """oneDNN's kernels for packed weights, or None; torch keeps them private."""
    kernels = torch.ops.mkldnn
    x86 = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    if weight.device.type != "cpu" or not x86 or not torch.backends.mkldnn.is_available():
        return None
    return kernels if all(hasattr(kernels, name) for name in PACKED) else None


def _activated(x: Tensor, activation: str) -> Tensor:
    if activation == "gelu":
        return functional.gelu(x)
    return functional.silu(x) if activation == "swish" else x
