"""Controls: outputs no codec should be proud of, to show where a metric's bad end lies on the same songs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from heartopt.tokens import frames_for

_SPECTRUM_FFT = 2048  # samples: the resolution (23 Hz) to which the noise follows the long-term spectrum


def silence(target: Tensor) -> Tensor:
    """Zeros `[C, N]`."""
    return torch.zeros_like(target)


def matched_noise(target: Tensor, seed: int) -> Tensor:
    """Stationary Gaussian noise `[C, N]` with each channel's long-term spectrum (to 23 Hz) and energy."""
    samples = target.shape[-1]
    generator = torch.Generator().manual_seed(seed)
    white = torch.fft.rfft(torch.randn(target.shape, generator=generator))
    padded = functional.pad(target.float().cpu(), (0, max(0, _SPECTRUM_FFT - samples)))
    window = torch.hann_window(_SPECTRUM_FFT)
    cells = torch.stft(padded, _SPECTRUM_FFT, window=window, return_complex=True).abs().square()
    shape = cells.mean(dim=-1).sqrt()  # [C, fft / 2 + 1]
    shape = functional.interpolate(shape.unsqueeze(1), white.shape[-1], mode="linear", align_corners=True)
    noise: Tensor = torch.fft.irfft(white * shape.squeeze(1), samples)
    wanted = target.float().cpu().square().sum(dim=-1, keepdim=True)
    gain = (wanted / noise.square().sum(dim=-1, keepdim=True).clamp(min=1e-20)).sqrt()
    return (noise * gain).to(target)


def another_song(target: Tensor, other: Tensor) -> Tensor:
    """The `other` song `[C, M]`, looped or cut to the target's length: `[C, N]`."""
    samples = target.shape[-1]
    return other.repeat(1, -(-samples // other.shape[-1]))[:, :samples]


def random_codes(num_samples: int, *, num_quantizers: int, codebook_size: int, seed: int) -> Tensor:
    """Uniformly drawn codes for so many samples: int64 `[K, F]`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(codebook_size, (num_quantizers, frames_for(num_samples)), generator=generator)
