"""How a song is cut into the decoder's windows, and how decoded windows are crossfaded back together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from heartopt.errors import CodecError

# The release's window arithmetic (`W // 93 * 80`) is consistent only for multiples of 93 codes = 7.44 s.
UNIT_CODES = 93
UNIT_HOP_CODES = 80
CODE_RATE = 12.5


@dataclass(frozen=True)
class Window:
    """One window: code frames ``[start, start + codes)`` of the song, of which ``context`` are known from before.

    ``real`` frames exist in the song; the rest of the window is filled by looping the song from its beginning.
    """

    index: int
    start: int
    codes: int
    context: int
    real: int

    def positions(self, frames: int, per_code: int = 1) -> Tensor:
        """Positions in a song of ``frames`` codes that fill this window: ``[codes · per_code]`` int64.

        ``per_code`` 1 for codes, 2 for latents.
        """
        return torch.arange(self.start * per_code, (self.start + self.codes) * per_code) % (frames * per_code)


@dataclass(frozen=True)
class WindowPlan:
    """Windows of ``codes`` code frames, every ``hop`` frames; neighbours share ``overlap`` frames."""

    codes: int
    hop: int

    @property
    def overlap(self) -> int:
        return self.codes - self.hop

    @property
    def seconds(self) -> float:
        return self.codes / CODE_RATE

    @classmethod
    def of_duration(cls, duration: float) -> WindowPlan:
        """The plan for windows of ``duration`` seconds.

        Raises:
            CodecError: ``duration`` is not a multiple of 7.44 s.
        """
        units = round(duration * CODE_RATE / UNIT_CODES) if math.isfinite(duration) else 0
        if units < 1 or abs(units * UNIT_CODES / CODE_RATE - duration) > 1e-6:
            unit = UNIT_CODES / CODE_RATE
            raise CodecError(
                f"window of {duration:g} s: use a multiple of {unit:g} s, such as {unit:g} or {4 * unit:g}"
            )
        return cls(codes=units * UNIT_CODES, hop=units * UNIT_HOP_CODES)

    def count(self, frames: int) -> int:
        """How many windows cover ``frames`` code frames."""
        return 1 if frames <= self.codes else -(-(frames - self.overlap) // self.hop)

    def windows(self, frames: int) -> Iterator[Window]:
        """The windows of a song of ``frames`` code frames, from left to right."""
        for index in range(self.count(frames)):
            start = index * self.hop
            yield Window(
                index=index,
                start=start,
                codes=self.codes,
                context=self.overlap if index else 0,
                real=min(self.codes, frames - start),
            )


def crossfade(blocks: Iterator[Tensor], overlap: int, length: int) -> Iterator[Tensor]:
    """Join blocks ``[…, N]`` whose neighbours share ``overlap`` samples, fading linearly; trim to ``length`` samples.

    Yields each stretch as soon as it is final, so that only one block's tail is kept.
    """
    tail: Tensor | None = None
    done = 0
    for block in blocks:
        if tail is not None:
            fade_in = torch.linspace(0, 1, overlap, device=block.device, dtype=block.dtype)
            mixed = tail * (1 - fade_in) + block[..., :overlap] * fade_in
            block = torch.cat((mixed, block[..., overlap:]), dim=-1)
        final, tail = block[..., :-overlap], block[..., -overlap:]
        if done < length:
            yield final[..., : length - done]
        done += final.shape[-1]
    if tail is not None and done < length:
        yield tail[..., : length - done]
