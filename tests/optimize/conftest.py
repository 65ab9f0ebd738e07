import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from heartopt import HeartCodec
from heartopt.audio import AudioTensor
from heartopt.codec.windows import Window, WindowPlan
from heartopt.optimize.objective import WindowTarget
from heartopt.optimize.window import window_target

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def codec() -> HeartCodec:
    return HeartCodec.from_pretrained(DATA / "codec")


@pytest.fixture
def audio() -> Tensor:
    """One second of stereo: noise that swells, the same each time."""
    noise = torch.randn(2, 48_000, generator=torch.Generator().manual_seed(0))
    return 0.1 * noise * torch.linspace(0, 1, 48_000)


@pytest.fixture
def plan(codec: HeartCodec, monkeypatch: pytest.MonkeyPatch) -> WindowPlan:
    """Windows of six code frames, neighbours sharing two, whatever is asked for: a song of several is short."""
    short = WindowPlan(codes=6, hop=4)
    monkeypatch.setattr(codec, "window_plan", lambda duration=None: short)
    return short


@dataclass(frozen=True)
class Song:
    """Stereo ``audio`` ``[2, N]`` and random ``codes`` ``[K, F]``; the last window is short, its last frame ragged."""

    audio: Tensor
    codes: Tensor

    @property
    def source(self) -> AudioTensor:
        return AudioTensor(self.audio)


@pytest.fixture(scope="session")
def long_song() -> Song:
    """13 code frames: three windows of `plan`."""
    generator = torch.Generator().manual_seed(0)
    audio = 0.1 * torch.randn(2, 13 * 3840 - 500, generator=generator)
    return Song(audio, torch.randint(0, 128, (4, 13), generator=generator))


@pytest.fixture(scope="session")
def song(long_song: Song) -> Song:
    """9 code frames: two windows of `plan`."""
    return Song(long_song.audio[:, : 9 * 3840 - 500], long_song.codes[:, :9].contiguous())


@dataclass(frozen=True)
class Case:
    """A window of `long_song`, what it is fitted to, and vectors ``[f, d]`` of its free frames that are no codes'."""

    window: Window
    target: WindowTarget
    vectors: Tensor

    @property
    def frames(self) -> slice:
        return slice(self.window.start + self.window.context, self.window.start + self.window.real)


@pytest.fixture
def cases(codec: HeartCodec, plan: WindowPlan, long_song: Song) -> list[Case]:
    """The song's windows: the first one, one with context, and one with context and filling."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for window in plan.windows(13):
        target = window_target(codec, long_song.source, window, long_song.codes)
        free = window.real - window.context
        found.append(Case(window, target, torch.randn(free, codec.config.codebook_dim, generator=generator)))
    return found


@pytest.fixture
def files_of_at_most() -> Callable[[int], AbstractContextManager[None]]:
    """The kernel refuses to make any file larger than so many bytes, as it does where the disk is full."""

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit
