"""An estimate and its target, with every transform computed once and shared by all metrics that ask for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np
import scipy.signal
from torch import Tensor

from heartopt import losses
from heartopt.audio import SAMPLE_RATE
from heartopt.deshimmer import LARGEST_SAMPLE, deshimmer, find_shimmer
from heartopt.errors import AudioError
from heartopt.metrics.transforms import spectrum_and_magnitude
from heartopt.resampling import KAISER_BETA, ROLLOFF, ZERO_CROSSINGS

#: Longer recordings are cut into equal segments of at most this: memory stays flat, and PESQ is not made for more.
SEGMENT_SECONDS = 30.0
#: Segments of a song whose transforms are kept for the next estimate; one of 30 s takes about 300 MB.
MOST_KEPT = 2
_Made = TypeVar("_Made")
Samples = np.ndarray[tuple[int], np.dtype[np.float32]]


class _Once:
    """Keeps what was made."""

    def __init__(self) -> None:
        self._made: dict[object, object] = {}

    def once(self, key: object, make: Callable[[], _Made]) -> _Made:
        """What `make` gives, made at the first call with this key and kept."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]  # type: ignore[return-value]


class Signal(_Once):
    """Audio `[C, N]` at 48 kHz of at most a segment; transforms are made when they are first asked for."""

    def __init__(self, audio: Tensor) -> None:
        super().__init__()
        self.audio = audio.detach()

    @cached_property
    def padded(self) -> Tensor:
        """In float32 or better, with zeros behind it up to the largest FFT."""
        return losses.pad_short(self.audio)

    @cached_property
    def silent(self) -> bool:
        """Whether the peak is below -80 dB."""
        return losses.is_silent(self.audio)

    def spectrum(self, size: int) -> Tensor:
        """Complex STFT `[C, size // 2 + 1, T]`: hop size / 4, Hann, centred, reflected."""
        return self._transform(size)[0]

    def magnitude(self, size: int) -> Tensor:
        """Magnitudes of `spectrum`."""
        return self._transform(size)[1]

    def _transform(self, size: int) -> tuple[Tensor, Tensor]:
        return self.once(("stft", size), lambda: spectrum_and_magnitude(self.padded, size))

    @cached_property
    def mono_16k(self) -> Samples:
        """The channels' mean at 16 kHz, for metrics of speech."""
        mono = self.audio.float().cpu().mean(dim=0).numpy()
        samples: Samples = np.ascontiguousarray(scipy.signal.oaconvolve(mono, _third_band(), mode="same")[::3])
        return samples

    @cached_property
    def shimmer_share(self) -> float:
        """Share of cells from 5.1 to 7.2 kHz that ring."""
        return find_shimmer(self.audio, SAMPLE_RATE).share

    @cached_property
    def deshimmered(self) -> Signal:
        """This signal after `heartopt.deshimmer` with its defaults."""
        return Signal(deshimmer(self.audio, SAMPLE_RATE))


class Pair(_Once):
    """An estimate and its target, signals of one shape."""

    def __init__(self, estimate: Signal, target: Signal) -> None:
        super().__init__()
        self.estimate, self.target = estimate, target

    @property
    def magnitudes(self) -> list[tuple[Tensor, Tensor]]:
        """Estimate and target `[C, size // 2 + 1, T]` for each of `losses.FFT_SIZES`."""
        return [(self.estimate.magnitude(size), self.target.magnitude(size)) for size in losses.FFT_SIZES]

    @property
    def spectra(self) -> list[tuple[Tensor, Tensor]]:
        """Complex, as `magnitudes`."""
        return [(self.estimate.spectrum(size), self.target.spectrum(size)) for size in losses.FFT_SIZES]


class Reference:
    """A song that several estimates are measured against: its segments' transforms are made once, in short songs.

    Raises:
        AudioError: no `[C, N]`, no samples, or NaN, infinite or huge samples.
    """

    def __init__(self, audio: Tensor) -> None:
        check_audio(audio, "target")
        self.audio = audio
        self._kept: Sequence[Signal] | None = None

    @property
    def segments(self) -> int:
        return math.ceil(self.audio.shape[-1] / (SEGMENT_SECONDS * SAMPLE_RATE))

    def pairs(self, estimate: Tensor) -> Sequence[Callable[[], Pair]]:
        """One maker of a `Pair` a segment: what is made is free to go before the next. Raises AudioError."""
        check_audio(estimate, "estimate")
        if estimate.shape != self.audio.shape:
            shapes = f"{list(estimate.shape)} and {list(self.audio.shape)}"
            raise AudioError(f"estimate and target must be audio [C, N] of one shape, got {shapes}")
        own, targets = estimate.tensor_split(self.segments, -1), self.audio.tensor_split(self.segments, -1)
        if self._kept is None and self.segments <= MOST_KEPT:
            self._kept = [Signal(part) for part in targets]

        def maker(index: int) -> Callable[[], Pair]:
            kept = self._kept
            return lambda: Pair(Signal(own[index]), kept[index] if kept else Signal(targets[index]))

        return [maker(index) for index in range(self.segments)]


@lru_cache(maxsize=1)
def _third_band() -> Samples:
    """The filter of `heartopt.resampling` from 48 to 16 kHz; convolved by FFT it takes a tenth of the time."""
    width = math.ceil(3 * ZERO_CROSSINGS / ROLLOFF)
    taps = scipy.signal.firwin(2 * width + 1, ROLLOFF / 3, window=("kaiser", KAISER_BETA))
    samples: Samples = taps.astype(np.float32)
    return samples


def check_audio(audio: Tensor, what: str) -> None:
    """Refuse what is no audio `[C, N]`, or has NaN, infinite or huge samples, which would spread into every metric.

    Raises AudioError.
    """
    if audio.dim() != 2 or audio.numel() == 0 or not audio.is_floating_point():
        given = f"{list(audio.shape)} {str(audio.dtype).removeprefix('torch.')}"
        raise AudioError(f"estimate and target must be floating-point audio [C, N] of one shape, got a {what} {given}")
    low, high = audio.aminmax()
    if not (float(low) >= -LARGEST_SAMPLE and float(high) <= LARGEST_SAMPLE):  # NaN is neither
        bad = ~(audio.abs() <= LARGEST_SAMPLE)
        first = int(bad.any(dim=0).int().argmax()) / SAMPLE_RATE
        raise AudioError(
            f"the {what} has {int(bad.sum())} NaN, infinite or huge samples, the first at {first:.3f} s: "
            "nothing can be measured; repair it or cut that part out"
        )
