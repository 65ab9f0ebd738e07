"""The shimmer remover, waveform to waveform: turns down what `heartopt.shimmer` finds, and keeps all else.

`C` channels, `N` samples, `T` frames, `K` bins of the band, `R` overlapping frames (`fft_size / hop`). Frames are
`fft_size` samples under a symmetric Hann window, `hop` apart; the audio is framed by zeros, so that frame `t` begins
at sample `t * hop - fft_size`. Each frame is transformed once; what reaches beyond a block is carried to the next.

Only what is *removed* is transformed back, overlap-added and subtracted. In exact arithmetic that is the same as
transforming everything back, but it leaves audio in which nothing stands out as it is, bit for bit (but for the fades),
and costs less.

The gains are constants to autograd: gradients flow as through a fixed filter that varies in time. (Derivatives of
the gains themselves would be steep at every threshold and infinite at silence.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from heartopt.errors import AudioError, ConfigError
from heartopt.shimmer import DeshimmerParams, Shimmer, judge

__all__ = ["DeshimmerParams", "Shimmer", "deshimmer", "deshimmer_blocks", "find_shimmer"]

LOWEST_RATE = 16_000  # Hz
LARGEST_SAMPLE = 1e6  # full scale is 1; squares far beyond this would overflow
BLOCK_FRAMES = 128  # at once: a few MB of stereo

Read = Callable[[int, int], Tensor]


def deshimmer(
    audio: Tensor, sample_rate: int, params: DeshimmerParams | None = None, *, block_frames: int = BLOCK_FRAMES
) -> Tensor:
    """`audio [C, N]` without its shimmer: `[C, N]`. What was removed is `audio - deshimmer(audio, sample_rate)`.

    Half precision is raised to float32. `block_frames` are worked on at once: the result does not depend on it
    (but for rounding), and memory beside the result is flat in `N` (where no gradient is asked for).

    Raises:
        AudioError: not floating point `[C, N]`, no samples, NaN or infinite samples, a rate under 16 kHz.
        ConfigError: the band passes the Nyquist frequency, or has fewer bins than the median takes.
    """
    parts = deshimmer_blocks(_reader(audio), audio.shape[-1], sample_rate, params, block_frames=block_frames)
    return torch.cat(list(parts), dim=1)


def deshimmer_blocks(
    read: Read,
    num_samples: int,
    sample_rate: int,
    params: DeshimmerParams | None = None,
    *,
    block_frames: int = BLOCK_FRAMES,
) -> Iterator[Tensor]:
    """`deshimmer` of audio that memory need not hold, the same result in parts of up to `block_frames * hop` samples.

    `read(start, stop)` gives samples `[C, stop - start]`, up to `block_frames * hop + fft_size` of them, and is asked
    to go back by less than `fft_size`. A part may share memory with what it gave. Raises as `deshimmer`, once iterated.
    """
    params = params or DeshimmerParams()
    carried: Tensor | None = None
    for frames in _transformed(read, num_samples, sample_rate, params, block_frames):
        count = frames.spectrum.shape[1]
        removed, carried = _overlap_add(_removed(frames, params), carried, count, params)
        part = frames.audio[:, : count * params.hop]
        if removed is not None:
            part = part - params.mix * removed
        before = max(0, -frames.start)  # the first frames reach into the zeros before the audio
        part = part[:, before : num_samples - frames.start]
        if part.shape[1]:
            yield _faded(part, frames.start + before, num_samples, round(params.fade * sample_rate))


@torch.no_grad()
def find_shimmer(
    audio: Tensor, sample_rate: int, params: DeshimmerParams | None = None, *, block_frames: int = BLOCK_FRAMES
) -> Shimmer:
    """What `deshimmer` finds in `audio [C, N]`, over all frames that touch it. Raises as `deshimmer` does."""
    params = params or DeshimmerParams()
    found = _transformed(_reader(audio), audio.shape[-1], sample_rate, params, block_frames)
    return Shimmer.joined([frames.shimmer for frames in found])


@dataclass(frozen=True)
class _Frames:
    """Neighbouring frames, transformed and judged."""

    start: int  # position of the first frame's first sample; negative in the zeros before the audio
    bins: range  # K of `fft_size // 2 + 1`
    audio: Tensor  # [C, fft_size + (T - 1) * hop]
    spectrum: Tensor  # [C, T, K] complex
    shimmer: Shimmer


def _transformed(
    read: Read, num_samples: int, sample_rate: int, params: DeshimmerParams, block_frames: int
) -> Iterator[_Frames]:
    """All frames that touch the audio, in order, `block_frames` at a time."""
    if sample_rate < LOWEST_RATE:
        raise AudioError(f"deshimmer needs audio at {LOWEST_RATE} Hz or more, got {sample_rate} Hz: resample it first")
    if num_samples < 1:
        raise AudioError("audio has no samples (zero-length audio)")
    if block_frames < 1:
        raise ConfigError(f"block_frames must be at least 1, got {block_frames}")
    bins = params.bins(sample_rate)
    size, hop = params.fft_size, params.hop
    frame_count = size // hop + -(-num_samples // hop)
    before: Tensor | None = None  # magnitudes of the frame before
    for first in range(1, frame_count, block_frames):  # frame 0 ends where the audio begins
        last = min(first + block_frames, frame_count)
        start, stop = first * hop - size, (last - 1) * hop
        audio = _checked(read(max(start, 0), min(stop, num_samples)), max(start, 0), sample_rate)
        audio = functional.pad(audio, (max(-start, 0), max(stop - num_samples, 0)))
        windowed = audio.unfold(-1, size, hop) * _window(size, audio)
        spectrum = torch.fft.rfft(windowed)[..., bins.start : bins.stop]
        with torch.no_grad():
            magnitude = spectrum.abs().mean(dim=0)
            led = torch.cat([torch.zeros_like(magnitude[:1]) if before is None else before, magnitude])
            before = magnitude[-1:]
            seconds = (torch.arange(first, last, device=audio.device) * hop - size // 2) / sample_rate
            shimmer = judge(led, seconds, _hertz(bins, sample_rate / size, audio), params)
        yield _Frames(start, bins, audio, spectrum, shimmer)


def _removed(frames: _Frames, params: DeshimmerParams) -> Tensor | None:
    """What goes from each frame, windowed again: `[C, T, fft_size]`; None: nothing, from any frame."""
    gain, spectrum = frames.shimmer.gain, frames.spectrum
    depth = params.resynthesis * frames.shimmer.noise[:, None] * frames.shimmer.edge
    rows = ((gain < 1) | (depth > 0)).any(dim=1).nonzero().squeeze(1)
    if len(rows) == 0:
        return None
    spectrum, gain = spectrum[:, rows], gain[rows]
    gone = spectrum * (1 - gain)
    if params.resynthesis:
        kept = spectrum * gain
        gone = gone + depth[rows] * (kept - kept.abs() * _random_phases(frames, params)[rows])
    above = params.fft_size // 2 + 1 - frames.bins.stop
    waves = torch.fft.irfft(functional.pad(gone, (frames.bins.start, above)), n=params.fft_size)
    waves = waves * _window(params.fft_size, waves)
    everywhere: Tensor = waves.new_zeros(waves.shape[0], len(frames.shimmer.seconds), params.fft_size)
    everywhere = everywhere.index_copy(1, rows, waves)
    return everywhere


def _random_phases(frames: _Frames, params: DeshimmerParams) -> Tensor:
    """Unit vectors `[T, K]`: what NumPy's default generator draws frame by frame from frame 0 on.

    The generator is moved to the first frame, so that the phases do not depend on blocks.
    """
    count, width = frames.shimmer.gain.shape
    skipped = (frames.start + params.fft_size) // params.hop * width
    generator = np.random.Generator(np.random.PCG64(params.seed).advance(skipped))
    turns = torch.from_numpy(generator.random((count, width))).to(frames.shimmer.gain)
    return torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)


def _overlap_add(
    waves: Tensor | None, carried: Tensor | None, count: int, params: DeshimmerParams
) -> tuple[Tensor | None, Tensor | None]:
    """Sum `waves [C, T, fft_size]`, `count` (T) hops of it complete: `[C, T * hop]`, and carry the rest on.

    Waves are added oldest first, in one block or in several, so that blocks do not change the sum. None is silence.
    """
    if waves is None and carried is None:
        return None, None
    overlap, hop = params.fft_size // params.hop, params.hop
    total = functional.pad(carried, (0, 0, 0, count)) if carried is not None else None
    if waves is not None:
        pieces = waves.unflatten(-1, (overlap, hop))
        for piece in reversed(range(overlap)):
            placed = functional.pad(pieces[:, :, piece], (0, 0, piece, overlap - 1 - piece))
            total = placed if total is None else total + placed
    assert total is not None
    weight = _window(params.fft_size, total).square().view(overlap, hop).sum(dim=0)
    carried = total[:, count:] if waves is not None or bool(total[:, count:].any()) else None
    return (total[:, :count] / weight).flatten(1), carried


def _faded(part: Tensor, start: int, num_samples: int, fade: int) -> Tensor:
    """The part from `start` on, with the first and last `fade` samples of the whole faded (half of it at most)."""
    fade = min(fade, num_samples // 2)
    stop = start + part.shape[1]
    if fade < 1 or (start >= fade and stop <= num_samples - fade):
        return part
    position = torch.arange(start, stop, device=part.device)
    from_end = torch.minimum(position, num_samples - 1 - position)
    return part * (from_end / max(fade - 1, 1)).clamp(max=1).to(part)


def _window(size: int, like: Tensor) -> Tensor:
    return torch.hann_window(size, periodic=False, dtype=like.dtype, device=like.device)


def _hertz(bins: range, width: float, like: Tensor) -> Tensor:
    return torch.arange(bins.start, bins.stop, dtype=like.dtype, device=like.device) * width


def _reader(audio: Tensor) -> Read:
    """`audio` by position. Raises AudioError for a shape other than `[C, N]`."""
    if audio.dim() != 2 or audio.shape[0] == 0:
        raise AudioError(f"audio must be [channels, samples], not {list(audio.shape)}")
    return lambda start, stop: audio[:, start:stop]


def _checked(samples: Tensor, start: int, sample_rate: int) -> Tensor:
    """Samples `[C, n]` from position `start` on as float32 or float64; AudioError for any that cannot be audio."""
    if not samples.is_floating_point():
        raise AudioError(f"audio must be floating point in -1..1, not {samples.dtype}")
    sound = samples.detach().abs() <= LARGEST_SAMPLE  # NaN is not
    if not bool(sound.all()):
        first = int((~sound).any(dim=0).int().argmax())
        raise AudioError(
            f"audio has a NaN, infinite or huge sample at {(start + first) / sample_rate:.3f} s: "
            "repair it or cut that part out"
        )
    return samples if samples.dtype == torch.float64 else samples.float()
