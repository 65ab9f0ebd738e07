"""What the training benchmarks share: processes of their own, peak memory, how long `train` takes to fill a cache."""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from heartopt.audio import find_audio
from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError
from heartopt.training import SongReady, StoppedEarly, train
from heartopt.version import __version__

Result = TypeVar("Result")


def in_own_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """`function(*arguments)` in a fresh process: its memory is its own. `function` must be importable."""
    # Not a `Pool`: its processes may have none of their own, as a loader with workers needs them.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_mb() -> float:
    """The most memory that this process had at once (peak RSS), in 10^6 bytes.

    From Linux' VmHWM where there is one: `ru_maxrss` of a new process starts at the peak of the one that made it.
    """
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def largest_child_mb() -> float:
    """The same of the largest child that has ended, such as a reader of data; pages shared with it count as well."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e6


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "heartopt": __version__,
    }


def songs_in(folder: Path, count: int) -> list[Path]:
    """The first `count` audio files of a folder. Raises ConfigError where there are fewer."""
    found = [file.path.resolve() for file in find_audio([folder])]
    if len(found) < count:
        raise ConfigError(f"{folder}: holds {len(found)} songs, {count} are needed")
    return found[:count]


def manifest(path: Path, songs: list[Path]) -> Path:
    """A list of `songs` that `train` takes as its data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{song}\n" for song in songs), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Filled:
    """`audio` seconds were read and encoded in `wall` seconds."""

    audio: float
    wall: float


class SongClock:
    """Progress of `train`: how much audio was encoded, and when, after this clock was made, the last song was ready."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.audio = self.wall = 0.0
        self.complete = False

    def __call__(self, event: object) -> None:
        if isinstance(event, SongReady):
            self.audio += event.seconds if event.encoded else 0.0
            self.wall = time.perf_counter() - self.began
            self.complete = event.done == event.total

    @property
    def filled(self) -> Filled:
        return Filled(self.audio, self.wall)


def fill_cache(songs: Path, codec: HeartCodec, folder: Path, cache: Path, **settings: Any) -> Filled:
    """Encode the list `songs` into `cache` as `train` does, and stop before the first step."""
    codec.fingerprint()  # made once a codec: no part of a song's cost
    clock = SongClock()
    try:
        train(
            data_dir=songs,
            output_dir=folder,
            codec=codec,
            cache_dir=cache,
            progress=clock,
            stop=lambda: clock.complete,
            **settings,
        )
    except StoppedEarly:
        return clock.filled
    raise ConfigError(f"{songs}: training began before the songs were counted")
