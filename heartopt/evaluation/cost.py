"""What making an output cost: seconds and memory."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path

import torch

_STATUS, _REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # what Linux takes to forget the highest resident size so far


class Meter:
    """Measures a `with` block.

    Attributes:
        wall_seconds: its duration; on CUDA all work that was begun is waited for.
        peak_mb: the most memory held in it at once, in 10^6 bytes. On CUDA what torch held on the device; on Linux
            the process' resident size, libraries and the codec's weights included; elsewhere NaN.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self.wall_seconds = self.peak_mb = math.nan

    def __enter__(self) -> Meter:
        self._resettable = _reset_peak(self._cuda)
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self._cuda is not None:
            torch.cuda.synchronize(self._cuda)
        self.wall_seconds = time.perf_counter() - self._began
        if self._resettable:
            self.peak_mb = _peak_mb(self._cuda)


def _reset_peak(cuda: torch.device | None) -> bool:
    if cuda is not None:
        torch.cuda.synchronize(cuda)
        torch.cuda.reset_peak_memory_stats(cuda)
        return True
    try:
        _REFS.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:  # no Linux, or not allowed here
        return False
    return True


def _peak_mb(cuda: torch.device | None) -> float:
    if cuda is not None:
        return torch.cuda.max_memory_allocated(cuda) / 1e6
    with suppress(OSError, StopIteration, ValueError, IndexError):
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6
    return math.nan
