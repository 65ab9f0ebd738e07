"""Small songs, each with a content of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from heartopt.doctor import Check

CODEC = Path(__file__).parents[1] / "data" / "codec"

MakeSong = Callable[..., Path]


@pytest.fixture
def make_song() -> MakeSong:
    """Write noise: `make_song(path, seconds=1.2, rate=8000, channels=1, seed=0)`."""

    def make(path: Path, *, seconds: float = 1.2, rate: int = 8_000, channels: int = 1, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * rate), channels))
        soundfile.write(path, noise, rate)
        return path

    return make


def by_name(checks: list[Check]) -> dict[str, Check]:
    assert len({check.name for check in checks}) == len(checks)
    return {check.name: check for check in checks}
