"""Waveform metrics."""

from __future__ import annotations

from torch import Tensor

_LIMIT_DB = 100.0


def si_sdr(estimate: Tensor, target: Tensor) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, `[C, N]` twice, limited to ±100 dB.

    Higher is better. Each channel's mean is removed; one scale serves all channels. 100 is a perfect copy
    (up to gain), -100 an estimate without anything of the target (silence, or a silent target). Not
    delay-aligned, and a generative decoder does not keep the phase: values near or below 0 are normal for
    HeartCodec. Source: Le Roux et al., arXiv 1811.02508.
    """
    e, t = (x.double() - x.double().mean(dim=-1, keepdim=True) for x in (estimate, target))
    energy = t.square().sum()
    if energy == 0:
        return _LIMIT_DB if e.square().sum() == 0 else -_LIMIT_DB
    part = (e * t).sum() / energy * t
    signal, noise = part.square().sum(), (e - part).square().sum()
    if signal == 0:
        return -_LIMIT_DB
    ratio = signal / noise.clamp(min=1e-30)
    return float((10 * ratio.log10()).clamp(-_LIMIT_DB, _LIMIT_DB))
