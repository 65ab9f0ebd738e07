"""Differentiable distances between an estimate and its target, both audio `[C, N]` at 48 kHz.

Estimate first, target second; every function returns a scalar in float32 (half precision is raised to it)
and takes one file a call: spectral convergence is one ratio over everything it is given, so files must never
be batched. Signals shorter than the largest FFT (2048 samples) are padded with zeros at their end.

`LOSSES` names the terms that training and refinement may weigh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import auraloss
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional

from heartopt.audio import SAMPLE_RATE
from heartopt.errors import AudioError

FFT_SIZES = (512, 1024, 2048)  # samples; hop = fft / 4, Hann window as long as the fft
SILENCE = 1e-4  # of full scale (-80 dB)
SHIMMER_BAND = (4_000.0, 8_000.0)  # Hz, where HeartCodec's decoder shimmers

_MEL_BINS, _MEL_FFT, _MEL_HOP, _MEL_FLOOR = 80, 1024, 256, 1e-5
_ENERGY_FLOOR = 1e-10  # mean squared magnitude of a cell: 154 dB under a full-scale tone
_NORM_FLOOR = 1e-8


def is_silent(audio: Tensor) -> bool:
    """Whether the peak of `[C, N]` is below -80 dB of full scale: ratios to such a target's energy mean nothing."""
    return float(audio.abs().max()) < SILENCE


def stft_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """The tier metric: auraloss' multi-resolution STFT loss, `[C, N]` twice -> scalar.

    Mean over FFTs of 512, 1024 and 2048 samples of spectral convergence + L1 of natural-log magnitudes. 0 is
    perfect, lower is better; silence scores about 5.7, another song 3.3. Blind to phase and to what lies
    below its floor (1e-4).
    Source: auraloss `MultiResolutionSTFTLoss` (Yamamoto et al., arXiv 1910.11480), hop fft/4, window = fft.
    """
    estimate, target = _pair(estimate, target)
    return _auraloss(estimate.device, estimate.dtype)(estimate.unsqueeze(1), target.unsqueeze(1))


def stft_log1p(estimate: Tensor, target: Tensor) -> Tensor:
    """The training report's STFT loss: L1 of log(1 + magnitude) + spectral convergence, `[C, N]` -> scalar.

    Mean over three FFTs. 0 is perfect, lower is better; silence scores only about 1.2, so it is never tiered.
    """
    spectra = _spectra(estimate, target)
    terms = [
        functional.l1_loss(torch.log1p(e.abs()), torch.log1p(t.abs())) + _convergence(e.abs(), t.abs())
        for e, t in spectra
    ]
    return torch.stack(terms).mean()


def stft_phase(estimate: Tensor, target: Tensor) -> Tensor:
    """The training report's phase term: mean absolute phase difference, wrapped to [0, pi] radians.

    Mean over three FFTs and all cells, whatever their magnitude; weighed 0.1 beside `stft_log1p` there.
    """
    spectra = _spectra(estimate, target)
    return torch.stack([torch.angle(e * t.conj()).abs().mean() for e, t in spectra]).mean()


def stft_hf(estimate: Tensor, target: Tensor) -> Tensor:
    """The training report's 4-8 kHz term: L1 of log(1 + magnitude) over these bins, averaged over *all* bins.

    Mean over three FFTs; weighed 0.5 beside `stft_log1p` there.
    """
    spectra = _spectra(estimate, target)
    terms = []
    for size, (e, t) in zip(FFT_SIZES, spectra, strict=True):
        inside = _band(size, e.device, e.real.dtype)
        terms.append(((torch.log1p(e.abs()) - torch.log1p(t.abs())).abs() * inside).mean())
    return torch.stack(terms).mean()


def mel_distance(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean L1 between log10 mel magnitudes, `[C, N]` twice -> scalar (80 HTK bins, fft 1024, hop 256).

    In decades, clamped at 1e-5: 0 is perfect, a gain of 20 dB scores 1. Lower is better; blind to phase and
    to fine pitch.
    """
    e, t = _mels(estimate, target, power=1)
    return functional.l1_loss(e.clamp(min=_MEL_FLOOR).log10(), t.clamp(min=_MEL_FLOOR).log10())


def mel_log1p(estimate: Tensor, target: Tensor) -> Tensor:
    """The training report's mel loss: L1 of log(1 + *power* mel), bins as `mel_distance`."""
    e, t = _mels(estimate, target, power=2)
    return functional.l1_loss(torch.log1p(e), torch.log1p(t))


def shimmer_db(estimate: Tensor, target: Tensor) -> Tensor:
    """Energy in 4-8 kHz of the estimate over the target's: 10 log10 of the ratio in dB, `[C, N]` -> scalar.

    0 is perfect, positive is too bright, negative too dull (signed, hence no loss term). Energies are mean
    squared magnitudes of a 2048-point STFT over all channels and frames, floored at 1e-10. Blind to where the
    energy lies within the band and in time.
    """
    estimate, target = _pair(estimate, target)
    size = FFT_SIZES[-1]
    inside = _band(size, estimate.device, estimate.dtype)
    energies = [(_stft(x, size).abs().square() * inside).mean() + _ENERGY_FLOOR for x in (estimate, target)]
    return 10 * torch.log10(energies[0] / energies[1])


Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: Mapping[str, Loss] = {
    "stft": stft_loss,
    "stft_log1p": stft_log1p,
    "stft_phase": stft_phase,
    "stft_hf": stft_hf,
    "mel": mel_distance,
    "mel_log1p": mel_log1p,
}


def _pair(estimate: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both signals in the same shape, at least float32 and at least one FFT long."""
    if estimate.shape != target.shape or estimate.dim() != 2 or estimate.shape[-1] == 0:
        shapes = f"{list(estimate.shape)} and {list(target.shape)}"
        raise AudioError(f"estimate and target must be audio [C, N] of one shape, got {shapes}")
    dtype = torch.promote_types(torch.promote_types(estimate.dtype, target.dtype), torch.float32)
    short = max(0, FFT_SIZES[-1] - estimate.shape[-1])
    padded = [functional.pad(x.to(dtype), (0, short)) for x in (estimate, target.to(estimate.device))]
    return padded[0], padded[1]


def _stft(audio: Tensor, size: int) -> Tensor:
    """Complex spectrum `[C, size // 2 + 1, frames]` of `[C, N]`: hop size / 4, Hann, centred, reflected."""
    window = _window(size, audio.device, audio.dtype)
    spectrum: Tensor = torch.stft(audio, size, size // 4, size, window, return_complex=True)
    return spectrum


def _spectra(estimate: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
    estimate, target = _pair(estimate, target)
    return [(_stft(estimate, size), _stft(target, size)) for size in FFT_SIZES]


def _convergence(estimate: Tensor, target: Tensor) -> Tensor:
    """Spectral convergence (Arik et al., arXiv 1808.06719); finite for a silent target."""
    norm = torch.linalg.vector_norm
    ratio: Tensor = norm(target - estimate) / norm(target).clamp(min=_NORM_FLOOR)
    return ratio


def _mels(estimate: Tensor, target: Tensor, *, power: int) -> tuple[Tensor, Tensor]:
    """Mel spectra `[C, 80, frames]` of both; no autocast: half precision cannot hold quiet bins."""
    pair = _pair(estimate, target)
    bank = _mel_bank(pair[0].device, pair[0].dtype)
    with torch.autocast(pair[0].device.type, enabled=False):
        mels = [bank @ _stft(audio, _MEL_FFT).abs().pow(power) for audio in pair]
    return mels[0], mels[1]


# These caches leave inference mode while they build: a tensor made inside it could never meet autograd later.


@lru_cache(maxsize=32)
def _window(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.hann_window(size, device=device, dtype=dtype)


@lru_cache(maxsize=32)
def _band(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """1 for the bins of the shimmer band, 0 for the others: `[size // 2 + 1, 1]`."""
    with torch.inference_mode(False):
        hertz = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE, device=device)
        inside: Tensor = (hertz >= SHIMMER_BAND[0]) & (hertz <= SHIMMER_BAND[1])
        return inside.to(dtype).unsqueeze(-1)


@lru_cache(maxsize=8)
def _mel_bank(device: torch.device, dtype: torch.dtype) -> Tensor:
    """HTK triangles without area normalization, `[80, 513]`."""
    with torch.inference_mode(False):
        bank: Tensor = torchaudio.functional.melscale_fbanks(
            _MEL_FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, _MEL_BINS, SAMPLE_RATE, norm=None, mel_scale="htk"
        )
        return bank.T.contiguous().to(device=device, dtype=dtype)


@lru_cache(maxsize=8)
def _auraloss(device: torch.device, dtype: torch.dtype) -> Loss:
    with torch.inference_mode(False):
        hops = [size // 4 for size in FFT_SIZES]
        module = auraloss.freq.MultiResolutionSTFTLoss(list(FFT_SIZES), hops, list(FFT_SIZES))
        for part in module.stft_losses:  # its own move to the device would happen inside the caller's mode
            part.window = part.window.to(device=device, dtype=dtype)
    loss: Loss = module
    return loss
