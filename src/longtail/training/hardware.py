"""What a run was computed on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

__all__ = ["hardware"]


def hardware(device: str = "auto") -> str:
    """The GPU, or the processor and the cores that this process may use.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``, as in ``RunConfig``.
    """
    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{model}, {cores} cores"
