"""Matrix products for a few rows: weights packed once, by the library that is fastest here.

Decoding reads every weight for each token, so a step costs what the memory gives. torch's own
product leaves that speed at one row on some processors and at four on all. The packers below are in
torch for x86 processors, but their operators are private: the self-test times them at the
model's shapes, and `transposed` remains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["FAST_KERNELS", "KERNELS", "Kernel", "Linear", "plain"]

Linear = Callable[[Tensor], Tensor]
"""float32 (m, in) -> (m, out)."""

Kernel = Callable[[Tensor, "Tensor | None"], Linear]
"""weight (out, in), bias (out,) or None -> the product with them."""

PACKED_ROWS = 256
"""MKL arranges the weights for so many rows; what it finds serves any number just as well."""

STEP_ROWS = 16
"""oneDNN chooses its blocks by the number of rows, so a step always has as many."""

FLOAT16_ROWS = 4
"""With fewer rows FBGEMM may add in another order."""


def plain(weight: Tensor, bias: Tensor | None) -> Linear:
    """torch's own product; on every device."""

    def apply(x: Tensor) -> Tensor:
        return functional.linear(x, weight, bias)

    return apply


def mkl(weight: Tensor, bias: Tensor | None) -> Linear:
    """Packed by MKL: the fastest where it knows the processor."""
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight.contiguous(), PACKED_ROWS)
    # The operator takes the original for its shape alone, once the rows are as it was told.
    shape = weight.new_empty(1).expand(weight.shape)

    def apply(x: Tensor) -> Tensor:
        return torch.ops.mkl._mkl_linear(x, packed, shape, bias, x.shape[0])

    return apply


def onednn(weight: Tensor, bias: Tensor | None) -> Linear:
    """Packed by oneDNN: the faster one on processors that MKL does not know."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), STEP_ROWS)

    def apply(x: Tensor) -> Tensor:
        rows = _filled(x, STEP_ROWS)
        return torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")[: len(x)]

    return apply


def convolution(weight: Tensor, bias: Tensor | None) -> Linear:
    """A pointwise convolution over rows as pixels, packed by oneDNN for a single row."""
    return _convolution(weight, bias, (1, 2, 4, 8, 16))


def convolution4(weight: Tensor, bias: Tensor | None) -> Linear:
    """The same in tiles of 4 rows or more, which AVX2 needs for more than 2 rows."""
    return _convolution(weight, bias, (4, 8, 16))


def _convolution(weight: Tensor, bias: Tensor | None, tiles: Sequence[int]) -> Linear:
    """Packed for the first of `tiles`, computed in these numbers of rows alone: oneDNN steps in
    with its reference code, 200 times slower, for some others."""
    steps = [0, 0], [1, 1], [1, 1]
    image = weight[:, :, None, None].contiguous(memory_format=torch.channels_last)
    packed = torch.ops.mkldnn._reorder_convolution_weight(
        image, *steps, 1, [1, weight.shape[1], 1, tiles[0]]
    )

    def tile(x: Tensor) -> Tensor:
        rows = len(x)
        size = next(size for size in tiles if size >= rows)
        pixels = _filled(x, size).t()[None, :, None]
        y = torch.ops.mkldnn._convolution_pointwise(pixels, packed, bias, *steps, 1, "none", [], "")
        return y[0, :, 0].t()[:rows]

    def apply(x: Tensor) -> Tensor:
        if len(x) <= tiles[-1]:
            return tile(x)
        return torch.cat([tile(part) for part in x.split(tiles[-1])])

    return apply


def transposed(weight: Tensor, bias: Tensor | None) -> Linear:
    """Not packed, the few rows as columns: public operators alone."""

    def apply(x: Tensor) -> Tensor:
        rows = len(x)
        # One column alone is another routine, with other roundings.
        columns = x.t() if rows > 1 else x.t().expand(-1, 2)
        product = torch.mm(weight, columns).t()[:rows]
        return product.contiguous() if bias is None else product + bias

    return apply


def float16(weight: Tensor, bias: Tensor | None) -> Linear:
    """Weights in half precision, read at half the cost; rows and sums stay float32 (FBGEMM)."""
    packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)

    def apply(x: Tensor) -> Tensor:
        rows = _filled(x, FLOAT16_ROWS)
        return torch.ops.quantized.linear_dynamic_fp16(rows, packed)[: len(x)]

    return apply


def int8(weight: Tensor, bias: Tensor | None) -> Linear:
    """Weights in 8 bits with a scale for each channel; rows are rounded to bfloat16."""
    scales = weight.abs().amax(1).clamp(min=1e-30) / 127
    packed = (weight / scales[:, None]).round().to(torch.int8).contiguous()
    # Its own scales are bfloat16, which would be wrong by as much as the weights are.
    ones = torch.ones_like(scales, dtype=torch.bfloat16)

    def apply(x: Tensor) -> Tensor:
        product = torch._weight_int8pack_mm(x.bfloat16(), packed, ones).float() * scales
        return product if bias is None else product + bias

    return apply


def _filled(x: Tensor, rows: int) -> Tensor:
    """With zeros below it, when it has fewer rows."""
    return x if len(x) >= rows else functional.pad(x, (0, 0, 0, rows - len(x)))


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "convolution": convolution,
        "convolution4": convolution4,
        "mkl": mkl,
        "onednn": onednn,
        "transposed": transposed,
    }
)
"""For the CPU; each gives a row the same result to the bit whatever rows stand beside it."""

FAST_KERNELS: Mapping[str, Kernel] = MappingProxyType({"float16": float16, "int8": int8})
"""As above, but with rounded weights: for the modes that need not be exact."""
