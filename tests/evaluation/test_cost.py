from __future__ import annotations

import math
import mmap
import time
from pathlib import Path

import pytest
import torch

from heartopt.evaluation import cost
from heartopt.evaluation.cost import Meter

CPU = torch.device("cpu")


def test_time_and_the_memory_of_the_block_alone() -> None:
    with Meter(CPU) as large, mmap.mmap(-1, 60_000_000) as block:  # pages of its own, whatever was freed before
        block.write(bytes(60_000_000))
    with Meter(CPU) as small:
        time.sleep(0.02)
    assert 0.02 <= small.wall_seconds < 5
    if Path("/proc/self/clear_refs").exists():
        assert 50 < large.peak_mb - small.peak_mb < 400
        assert small.peak_mb > 20


def test_where_nobody_knows_it_is_not_a_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cost, "_REFS", tmp_path / "none" / "clear_refs")
    with Meter(CPU) as meter:
        pass
    assert math.isnan(meter.peak_mb) and meter.wall_seconds >= 0


def test_an_error_goes_through() -> None:
    with pytest.raises(ValueError, match="inside"), Meter(CPU):
        raise ValueError("inside")
