"""Memory in use."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["memory_info"]


def memory_info() -> dict[str, Any]:
    """Memory of this process in MB and percent (psutil), and of the GPU (0.0 without one)."""
    import psutil  # start-up time: 40 ms

    process = psutil.Process(os.getpid())
    torch = sys.modules.get("torch")  # asked only if an engine has imported it
    cuda = torch.cuda if torch is not None and torch.cuda.is_available() else None
    return {
        "cpu_memory_mb": round(process.memory_info().rss / 2**20, 1),
        "cpu_memory_percent": round(process.memory_percent(), 2),
        "gpu_memory_allocated_mb": round(cuda.memory_allocated() / 2**20, 1) if cuda else 0.0,
        "gpu_memory_reserved_mb": round(cuda.memory_reserved() / 2**20, 1) if cuda else 0.0,
        "gpu_memory_max_allocated_mb": (
            round(cuda.max_memory_allocated() / 2**20, 1) if cuda else 0.0
        ),
    }
