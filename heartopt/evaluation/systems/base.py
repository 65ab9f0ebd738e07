"""What a system is: it turns a song into tokens, or straight into audio, and is judged by the result."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError
from heartopt.optimize import OptimizeSettings
from heartopt.projection import EncoderProjection

if TYPE_CHECKING:
    from heartopt.evaluation.suites import Song


@dataclass(frozen=True)
class Decoding:
    """How tokens become audio: seconds of a window (a multiple of 7.44), Euler steps, guidance."""

    duration: float
    num_steps: int = 10
    guidance_scale: float = 1.25


@dataclass(frozen=True)
class Setup:
    """What every system works with. `projection` may be None where no system needs it; `mixdown`: see `fit_audio`."""

    codec: HeartCodec
    projection: EncoderProjection | None
    decoding: Decoding
    optimize: OptimizeSettings
    seed: int
    mixdown: bool = False


@dataclass(frozen=True)
class Place:
    """A song's place in its suite: its number, the song, and the one after it, whose sound is "another song"."""

    index: int
    song: Song
    neighbour: Song


@dataclass(frozen=True)
class Subject:
    """The song at hand: its number in the suite, its stereo audio `[2, N]`, and a reader of another song.

    `song` says what it is called, for systems that look for a file; None where there is no suite.
    """

    index: int
    target: Tensor
    other: Callable[[], Tensor]
    song: Song | None = None

    def named(self, spec: str) -> Song:
        """The song. Raises ConfigError where it has no name."""
        if self.song is None:
            raise ConfigError(f"system {spec} looks for a song's file, and this one has no name")
        return self.song

    def song_seed(self, seed: int) -> int:
        """Another seed for each song."""
        return seed * 1_000_003 + self.index


@dataclass(frozen=True)
class Output:
    """A system's output: tokens `[K, F]`, or audio `[2, N]` where there are none; the other is None.

    Attributes:
        kbps: kbit/s of what was between encoder and decoder; NaN where nobody knows. Of tokens it follows from them.
        note: what was done to make it fit the song, in words; "" for nothing.
        offset: samples of decoded tokens before the excerpt begins: those of a whole song hold more than it.
        timed: whether making it here is what it costs. Reading somebody's file is not.
    """

    tokens: Tensor | None
    audio: Tensor | None = None
    kbps: float = math.nan
    note: str = ""
    offset: int = 0
    timed: bool = True


class System(ABC):
    """A way to make tokens or audio. Equal `identity`, equal output: that is what a cache goes by."""

    #: Whether it begins with the setup's projection.
    needs_projection = False

    @abstractmethod
    def __call__(self, setup: Setup, subject: Subject) -> Output:
        """Make the output. Raises HeartoptError where it cannot be made for this song."""

    @abstractmethod
    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        """All that the output depends on beside the song, the codec and heartopt's own code; JSON types only.

        Raises HeartoptError where something that it depends on is missing.
        """

    def prepare(self, setup: Setup) -> None:  # noqa: B027 (most have nothing to prepare)
        """Load what the system needs, before any song and outside of any time that is measured.

        Raises HeartoptError: what is missing or does not fit, so that a run ends before its first song.
        """
