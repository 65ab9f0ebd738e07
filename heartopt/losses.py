"""Differentiable distances between an estimate and its target, both audio `[C, N]` at 48 kHz.

Estimate first, target second; every function returns a scalar in float32 (half precision is raised to it)
and takes one file a call: spectral convergence is one ratio over everything it is given, so files must never
be batched. Signals shorter than the largest FFT (2048 samples) are padded with zeros at their end.

`LOSSES` names the terms that training and refinement may weigh.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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

MEL_FFT = 1024  # samples; hop 256
_MEL_BINS, _MEL_FLOOR = 80, 1e-5
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
    return log1p_of([(e.abs(), t.abs()) for e, t in _spectra(estimate, target)])


def stft_phase(estimate: Tensor, target: Tensor) -> Tensor:
    """The training report's phase term: mean absolute phase difference, wrapped to [0, pi] radians.

    Mean over three FFTs and all cells, whatever their magnitude; weighed 0.1 beside `stft_log1p` there.
    """
    return phase_of(_spectra(estimate, target))


def stft_hf(estimate: Tensor, target: Tensor) -> Tensor:
    """The training report's 4-8 kHz term: L1 of log(1 + magnitude) over these bins, averaged over *all* bins.

    Mean over three FFTs; weighed 0.5 beside `stft_log1p` there.
    """
    return high_of([(e.abs(), t.abs()) for e, t in _spectra(estimate, target)])


def mel_distance(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean L1 between log10 mel magnitudes, `[C, N]` twice -> scalar (80 HTK bins, fft 1024, hop 256).

    In decades, clamped at 1e-5: 0 is perfect, a gain of 20 dB scores 1. Lower is better; blind to phase and
    to fine pitch.
    """
    e, t = (log_mel(stft(x, MEL_FFT).abs()) for x in _pair(estimate, target))
    return functional.l1_loss(e, t)


def mel_log1p(estimate: Tensor, target: Tensor) -> Tensor:
    """The training report's mel loss: L1 of log(1 + *power* mel), bins as `mel_distance`."""
    e, t = (log1p_mel(stft(x, MEL_FFT).abs()) for x in _pair(estimate, target))
    return functional.l1_loss(e, t)


def shimmer_db(estimate: Tensor, target: Tensor) -> Tensor:
    """Energy in 4-8 kHz of the estimate over the target's: 10 log10 of the ratio in dB, `[C, N]` -> scalar.

    0 is perfect, positive is too bright, negative too dull (signed, hence no loss term). Energies are mean
    squared magnitudes of a 2048-point STFT over all channels and frames, floored at 1e-10. Blind to where the
    energy lies within the band and in time.
    """
    e, t = (stft(x, FFT_SIZES[-1]).abs() for x in _pair(estimate, target))
    return band_ratio_of(e, t, SHIMMER_BAND)


Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: Mapping[str, Loss] = {
    "stft": stft_loss,
    "stft_log1p": stft_log1p,
    "stft_phase": stft_phase,
    "stft_hf": stft_hf,
    "mel": mel_distance,
    "mel_log1p": mel_log1p,
}


# The same from spectra that a caller has already: pairs of estimate and target, one for each of `FFT_SIZES`.


def log1p_of(magnitudes: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """`stft_log1p` of magnitudes."""
    terms = [functional.l1_loss(torch.log1p(e), torch.log1p(t)) + convergence(e, t) for e, t in magnitudes]
    return torch.stack(terms).mean()


def phase_of(spectra: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """`stft_phase` of complex spectra."""
    return torch.stack([_phase_difference(e, t).mean() for e, t in spectra]).mean()


def _phase_difference(e: Tensor, t: Tensor) -> Tensor:
    """Absolute phase of `e` over `t`, wrapped to [0, pi]; a cell that is 0 in one of them alone counts as unrelated,
    pi/2, so that silence is no better than noise; one that is 0 in both, as equal."""
    empty_e, empty_t = e == 0, t == 0
    if e.requires_grad or t.requires_grad:
        apart = torch.angle(e * t.conj()).abs()  # its gradient is 0, not NaN, where either is 0
    else:
        real = (e.real * t.real).addcmul_(e.imag, t.imag)
        imaginary = (e.imag * t.real).addcmul_(e.real, t.imag, value=-1)
        apart = torch.atan2(imaginary.abs_(), real)  # the same, vectorized: in half the time
    return apart.masked_fill(empty_e & empty_t, 0).masked_fill(empty_e ^ empty_t, math.pi / 2)


def high_of(magnitudes: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """`stft_hf` of magnitudes."""
    terms = []
    for size, (e, t) in zip(FFT_SIZES, magnitudes, strict=True):
        inside = band_bins(size, *SHIMMER_BAND)
        bins = e.shape[-2] / (inside.stop - inside.start)
        high = [torch.log1p(x[..., inside.start : inside.stop, :]) for x in (e, t)]
        terms.append(functional.l1_loss(high[0], high[1]) / bins)  # over all bins
    return torch.stack(terms).mean()


def band_ratio_of(estimate: Tensor, target: Tensor, band: tuple[float, float]) -> Tensor:
    """`shimmer_db` of magnitudes `[C, fft / 2 + 1, T]` in another band of Hz."""
    inside = band_bins(2 * (target.shape[-2] - 1), *band)
    share = (inside.stop - inside.start) / target.shape[-2]
    e, t = (x[..., inside.start : inside.stop, :].square().mean() * share for x in (estimate, target))
    return 10 * torch.log10((e + _ENERGY_FLOOR) / (t + _ENERGY_FLOOR))


def band_bins(size: int, low: float, high: float) -> range:
    """The bins of an FFT of `size` samples from `low` to `high` Hz."""
    width = SAMPLE_RATE / size
    return range(math.ceil(low / width), math.floor(high / width) + 1)


def pad_short(audio: Tensor) -> Tensor:
    """`[C, N]` in float32 or better, with zeros behind it up to the largest FFT."""
    audio = audio.to(torch.promote_types(audio.dtype, torch.float32))
    return functional.pad(audio, (0, max(0, FFT_SIZES[-1] - audio.shape[-1])))


def _pair(estimate: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both signals in the same shape, at least float32 and at least one FFT long."""
    if estimate.shape != target.shape or estimate.dim() != 2 or estimate.shape[-1] == 0:
        shapes = f"{list(estimate.shape)} and {list(target.shape)}"
        raise AudioError(f"estimate and target must be audio [C, N] of one shape, got {shapes}")
    dtype = torch.promote_types(torch.promote_types(estimate.dtype, target.dtype), torch.float32)
    return pad_short(estimate.to(dtype)), pad_short(target.to(estimate.device, dtype))


def stft(audio: Tensor, size: int) -> Tensor:
    """Complex spectrum `[C, size // 2 + 1, frames]` of `[C, N]`: hop size / 4, Hann, centred, reflected."""
    window = _window(size, audio.device, audio.dtype)
    spectrum: Tensor = torch.stft(audio, size, size // 4, size, window, return_complex=True)
    return spectrum


def _spectra(estimate: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
    estimate, target = _pair(estimate, target)
    return [(stft(estimate, size), stft(target, size)) for size in FFT_SIZES]


def convergence(estimate: Tensor, target: Tensor) -> Tensor:
    """Spectral convergence (Arik et al., arXiv 1808.06719); finite for a silent target."""
    norm = torch.linalg.vector_norm
    ratio: Tensor = norm(target - estimate) / norm(target).clamp(min=_NORM_FLOOR)
    return ratio


def log_mel(magnitude: Tensor) -> Tensor:
    """Magnitudes of `MEL_FFT` `[C, 513, T]` -> log10 of their mel bands, floored: `[C, 80, T]`."""
    return _mel(magnitude).clamp(min=_MEL_FLOOR).log10()


def log1p_mel(magnitude: Tensor) -> Tensor:
    """Magnitudes of `MEL_FFT` `[C, 513, T]` -> log(1 + mel bands of the power): `[C, 80, T]`."""
    return torch.log1p(_mel(magnitude.square()))


def _mel(spectrum: Tensor) -> Tensor:
    """`[C, 513, T]` -> `[C, 80, T]`; no autocast: half precision cannot hold quiet bins."""
    bank = _mel_bank(spectrum.device, spectrum.dtype)
    with torch.autocast(spectrum.device.type, enabled=False):
        return bank @ spectrum


# These caches leave inference mode while they build: a tensor made inside it could never meet autograd later.


@lru_cache(maxsize=32)
def _window(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.hann_window(size, device=device, dtype=dtype)


@lru_cache(maxsize=8)
def _mel_bank(device: torch.device, dtype: torch.dtype) -> Tensor:
    """HTK triangles without area normalization, `[80, 513]`."""
    with torch.inference_mode(False):
        bank: Tensor = torchaudio.functional.melscale_fbanks(
            MEL_FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, _MEL_BINS, SAMPLE_RATE, norm=None, mel_scale="htk"
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
