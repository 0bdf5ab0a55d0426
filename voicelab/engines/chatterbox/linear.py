"""Matrix products for a few rows: weights packed once, by the library that is fastest here.

Decoding reads every weight for each token, so a step costs what the memory gives. For two rows
torch's own product reaches that; for the sixteen of eight sentences it takes four times as long
as a product whose weights were packed beforehand. Both packers are in every torch for CPUs, but
their operators are private: the self-test tries them, and `transposed` remains.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["KERNELS", "Kernel", "Linear", "plain"]

Linear = Callable[[Tensor], Tensor]
"""float32 (m, in) -> (m, out)."""

Kernel = Callable[[Tensor, "Tensor | None"], Linear]
"""weight (out, in), bias (out,) or None -> the product with them."""

PACKED_ROWS = 256
"""MKL arranges the weights for so many rows; what it finds serves any number just as well."""

STEP_ROWS = 16
"""oneDNN chooses its blocks by the number of rows, so a step always has as many."""


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
        rows = len(x)
        if rows < STEP_ROWS:
            x = functional.pad(x, (0, 0, 0, STEP_ROWS - rows))
        return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")[:rows]

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


KERNELS: dict[str, Kernel] = {"mkl": mkl, "onednn": onednn, "transposed": transposed}
"""For the CPU; each gives a row the same result to the bit whatever rows stand beside it."""
