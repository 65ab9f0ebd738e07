"""A tiny codec and a folder of tiny songs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from heartopt.codec import HeartCodec
from heartopt.training import TrainResult, train

CODEC = Path(__file__).parents[1] / "data" / "codec"
RATE = 48_000


def write_song(path: Path, seconds: float, *, seed: int, channels: int = 2, level: float = 0.3) -> Path:
    """A chord with noise: different in every seed."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE))[:, None] / RATE
    tones = sum(np.sin(2 * np.pi * random.uniform(80, 4000, (1, channels)) * time) for _ in range(3))
    audio = level * (tones / 3 + 0.1 * random.standard_normal((len(time), channels)))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.astype(np.float32), RATE, subtype="PCM_16")
    return path


@pytest.fixture
def make_song() -> Callable[..., Path]:
    """`write_song`, for tests that need more songs."""
    return write_song


@pytest.fixture(scope="session")
def codec() -> HeartCodec:
    return HeartCodec.from_pretrained(CODEC)


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Four songs of 1.5 to 3.3 seconds, one mono, one in a sub-folder."""
    folder = tmp_path / "songs"
    write_song(folder / "a.wav", 3.3, seed=1)
    write_song(folder / "b.wav", 2.1, seed=2, channels=1)
    write_song(folder / "c.flac", 1.5, seed=3)
    write_song(folder / "deep" / "d.wav", 2.6, seed=4)
    return folder


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny songs are the same in every test: encode them once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(codec: HeartCodec, songs: Path, tmp_path: Path, shared_cache: Path) -> Any:
    """`train` on the tiny songs in six steps, with what a test changes."""

    def call(output: str = "run", **changed: Any) -> TrainResult:
        arguments: dict[str, Any] = {
            "data_dir": songs,
            "output_dir": tmp_path / output,
            "codec": codec,
            "projection_type": "linear",
            "hidden_dim": 16,
            "batch_size": 2,
            "max_duration": 0.48,
            "steps": 6,
            "lr": 3e-3,
            "warmup_steps": 2,
            "val_crops": 2,
            "num_val_samples": 0,
            "num_workers": 0,
            "cache_dir": shared_cache,
        }
        return train(**(arguments | changed))

    return call
