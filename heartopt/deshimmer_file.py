"""The shimmer remover on files: any rate that it takes, any length, memory flat."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from heartopt.audio import AudioFile, AudioWriter
from heartopt.deshimmer import deshimmer_blocks
from heartopt.shimmer import DeshimmerParams

#: The peak that audio is scaled to where it would pass full scale: just under it, also in 16 bits.
HIGHEST_PEAK = 1 - 2**-15


@dataclass(frozen=True)
class Deshimmered:
    """What became of a file. `gain_db`: 0, or what it was scaled by to stay under full scale.

    `removed_db`: energy of what was removed, over that of the whole (-inf: nothing was). `most_removed`: the second
    where the ten seconds begin in which the most was removed.
    """

    seconds: float
    sample_rate: int
    channels: int
    gain_db: float
    removed_db: float
    most_removed: float


def deshimmer_file(
    source: Path,
    output: Path,
    params: DeshimmerParams | None = None,
    *,
    difference: Path | None = None,
    mixdown: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Deshimmered:
    """Write `source` without its shimmer to `output`, and what was removed to `difference`, at the file's own rate.

    Both are 24-bit `.wav` or `.flac`. Where a peak would pass full scale, both are scaled by the same factor, in a
    second pass. `progress` is told the share that is done, of one pass.

    Raises:
        AudioError: as `AudioFile` and `deshimmer`.
        ConfigError: a band that the file's rate cannot hold.
        OutputError: a file cannot be written.
    """
    params = params or DeshimmerParams()
    with AudioFile(source, mixdown=mixdown, native=True) as file:
        try:
            levels = _write(file, params, 1.0, output, difference, progress)
        except _PastFullScale as loud:
            gain = HIGHEST_PEAK / loud.peak
            levels = _write(file, params, gain, output, difference, progress)
        else:
            gain = 1.0
        return Deshimmered(
            seconds=file.seconds,
            sample_rate=file.rate,
            channels=file.channels,
            gain_db=20 * math.log10(gain),
            removed_db=levels.removed_db,
            most_removed=levels.most_removed(file.rate),
        )


class _PastFullScale(Exception):
    """The output would clip: nothing is kept of it."""

    def __init__(self, peak: float) -> None:
        self.peak = peak


class _Levels:
    """Peak and energies, block by block."""

    def __init__(self) -> None:
        self.peak = 0.0
        self.whole = 0.0
        self.removed: list[tuple[int, float]] = []  # samples of a block, energy removed from it

    def hear(self, kept: Tensor, removed: Tensor) -> None:
        self.peak = max(self.peak, float(kept.abs().max()))
        self.whole += float((kept + removed).double().square().sum())
        self.removed.append((removed.shape[1], float(removed.double().square().sum())))

    @property
    def removed_db(self) -> float:
        energy = math.fsum(energy for _, energy in self.removed)
        return 10 * math.log10(energy / self.whole) if energy > 0 and self.whole > 0 else -math.inf

    def most_removed(self, rate: int, seconds: float = 10.0) -> float:
        """The start, in seconds, of the blocks of about `seconds` from which the most was removed."""
        size = max(1, round(seconds * rate / self.removed[0][0]))
        starts = range(max(1, len(self.removed) - size + 1))
        best = max(starts, key=lambda start: math.fsum(energy for _, energy in self.removed[start : start + size]))
        return sum(samples for samples, _ in self.removed[:best]) / rate


def _write(
    file: AudioFile,
    params: DeshimmerParams,
    gain: float,
    output: Path,
    difference: Path | None,
    progress: Callable[[float], None] | None,
) -> _Levels:
    """One pass. Raises _PastFullScale, with nothing written, where the result times `gain` would clip."""
    levels = _Levels()
    done = 0
    with ExitStack() as stack:
        kept_to, removed_to = (
            stack.enter_context(AudioWriter(path, file.channels, file.rate)) if path else None
            for path in (output, difference)
        )
        for kept in deshimmer_blocks(file.read, file.num_samples, file.rate, params):
            removed = file.read(done, done + kept.shape[1]) - kept
            levels.hear(kept, removed)
            for writer, part in ((kept_to, kept), (removed_to, removed)):
                if writer is not None:
                    writer.write(part * gain)
            done += kept.shape[1]
            if progress is not None:
                progress(done / file.num_samples)
        if levels.peak * gain > 1:
            raise _PastFullScale(levels.peak)
    return levels
