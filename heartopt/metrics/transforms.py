"""Short-time spectra of long audio, a block of frames at a time: what one step makes, the next finds in the cache.

The frames are those of `heartopt.losses.stft`: Hann window of `size` samples, hop size / 4, centred, reflected at the
ends. In one piece each step would write and read tens of MB; in blocks it takes half the time. No gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

_AT_ONCE = 1 << 17  # samples in the frames of a block: with its spectrum, about 1 MB


def spectrum_and_magnitude(audio: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Complex STFT of `audio [C, N]` and its magnitudes, both `[C, size // 2 + 1, T]`; N above size / 2."""
    shape = audio.shape[0], frame_count(audio, size), size // 2 + 1
    spectrum = audio.new_empty(shape, dtype=torch.promote_types(audio.dtype, torch.complex64))
    levels = audio.new_empty(shape)
    for channel, at, block in blocks(audio, size):
        spectrum[channel, at] = block
        levels[channel, at] = magnitude(block)
    return spectrum.transpose(1, 2), levels.transpose(1, 2)


def reduced_magnitude(audio: Tensor, size: int, bands: int, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """What `reduce` makes of magnitudes `[size // 2 + 1, t]`, frame by frame `[bands, t]`: `[C, bands, T]`."""
    result = audio.new_empty(audio.shape[0], bands, frame_count(audio, size))
    for channel, at, block in blocks(audio, size):
        result[channel, :, at] = reduce(magnitude(block).T)
    return result


def blocks(audio: Tensor, size: int) -> Iterator[tuple[int, slice, Tensor]]:
    """Channel, frames and their complex spectra `[t, size // 2 + 1]`, of `audio [C, N]` with N above size / 2."""
    frames = functional.pad(audio, (size // 2, size // 2), mode="reflect").unfold(-1, size, size // 4)
    window = torch.hann_window(size, dtype=audio.dtype, device=audio.device)
    count = max(1, _AT_ONCE // size)
    for channel, own in enumerate(frames):
        for first in range(0, own.shape[0], count):
            at = slice(first, min(first + count, own.shape[0]))
            yield channel, at, torch.fft.rfft(own[at] * window)


def frame_count(audio: Tensor, size: int) -> int:
    """T, of `audio [C, N]`."""
    return audio.shape[-1] // (size // 4) + 1


def magnitude(spectrum: Tensor) -> Tensor:
    """As `spectrum.abs()`, without its guard against overflow, in a third of the time."""
    real, imaginary = spectrum.real, spectrum.imag
    return (real * real).addcmul_(imaginary, imaginary).sqrt_()
