"""Known distortions of increasing strength: what metrics are calibrated with.

Each takes stereo `[2, N]` at 48 kHz and gives the same shape; the same input always gives the same output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from heartopt.audio import SAMPLE_RATE
from heartopt.errors import ConfigError
from heartopt.evaluation.controls import another_song
from heartopt.evaluation.lossy import lossy_roundtrip
from heartopt.seeding import keyed_generator

_EDGE = 0.1  # width of the low-pass's edge, as a share of its corner frequency
_PAD = 4096  # samples of silence, longer than the low-pass rings
_TONES = (5_200.0, 7_100.0, 12)  # Hz from, Hz to, how many: `shimmer`
_TONE_SECONDS = 0.1  # how long a tone stays on or off


@dataclass(frozen=True)
class Distortion:
    """One kind of distortion.

    Attributes:
        name: what metrics' `sees` call it.
        about: what it does.
        unit: of its strength.
        strengths: from the gentlest to the strongest.
        function: of the audio `[2, N]`, the strength and another song `[2, M]`.
    """

    name: str
    about: str
    unit: str
    strengths: tuple[float, ...]
    function: Callable[[Tensor, float, Tensor], Tensor]

    def apply(self, audio: Tensor, strength: float, other: Tensor) -> Tensor:
        """The distorted `audio [2, N]`; `other [2, M]` is only heard in `other_song`."""
        return self.function(audio, strength, other)

    def steps(self, audio: Tensor, other: Tensor) -> Iterator[tuple[float, Tensor]]:
        """Strength and distorted audio, from the gentlest to the strongest."""
        for strength in self.strengths:
            yield strength, self.apply(audio, strength, other)


def distortion(name: str) -> Distortion:
    """The distortion of this name. Raises ConfigError."""
    if name not in DISTORTIONS:
        raise ConfigError(f"unknown distortion {name}: choose from {', '.join(DISTORTIONS)}")
    return DISTORTIONS[name]


def _rms(audio: Tensor) -> float:
    return float(audio.double().square().mean().sqrt())


def _noise(audio: Tensor, decibels: float, other: Tensor) -> Tensor:
    """White Gaussian noise in both channels, independently, so many dB relative to the signal's energy."""
    noise = torch.randn(audio.shape, generator=keyed_generator("distortion", "noise"))
    return audio + noise.to(audio) * (_rms(audio) * 10 ** (decibels / 20))


def _lowpass(audio: Tensor, kilohertz: float, other: Tensor) -> Tensor:
    """Without delay or phase: a raised cosine from the corner frequency on, a tenth of it wide."""
    padded = functional.pad(audio, (_PAD, _PAD))
    frequencies = torch.fft.rfftfreq(padded.shape[-1], 1 / SAMPLE_RATE).to(audio)
    corner = kilohertz * 1000
    over = ((frequencies - corner) / (corner * _EDGE)).clamp(0, 1)
    response = 0.5 + 0.5 * torch.cos(math.pi * over)
    filtered: Tensor = torch.fft.irfft(torch.fft.rfft(padded) * response, padded.shape[-1])
    return filtered[..., _PAD:-_PAD]


def _mp3(audio: Tensor, kbps: float, other: Tensor) -> Tensor:
    return lossy_roundtrip(audio, "mp3", int(kbps))[0]


def _opus(audio: Tensor, kbps: float, other: Tensor) -> Tensor:
    return lossy_roundtrip(audio, "opus", int(kbps))[0]


def _quantization(audio: Tensor, bits: float, other: Tensor) -> Tensor:
    """Rounding to so many bits of full scale, without dither."""
    levels = 2 ** (bits - 1)
    return (audio * levels).round() / levels


def _clipping(audio: Tensor, decibels: float, other: Tensor) -> Tensor:
    """Hard clipping so many dB below the peak."""
    limit = float(audio.abs().max()) * 10 ** (-decibels / 20)
    return audio.clamp(-limit, limit)


def _shift(audio: Tensor, milliseconds: float, other: Tensor) -> Tensor:
    """A delay, rounded to whole samples; silence comes first."""
    samples = min(round(milliseconds / 1000 * SAMPLE_RATE), audio.shape[-1])
    return functional.pad(audio, (samples, 0))[..., : audio.shape[-1]]


def _gain(audio: Tensor, decibels: float, other: Tensor) -> Tensor:
    return audio * 10 ** (decibels / 20)


def _narrowing(audio: Tensor, share: float, other: Tensor) -> Tensor:
    """Takes this share of the side signal away: 1 is mono."""
    return torch.lerp(audio, audio.mean(dim=0, keepdim=True).expand_as(audio), share)


def _shimmer(audio: Tensor, decibels: float, other: Tensor) -> Tensor:
    """Twelve tones between 5.2 and 7.1 kHz that come and go, together so many dB relative to the signal's energy."""
    low, high, count = _TONES
    generator = keyed_generator("distortion", "shimmer")
    samples, blocks = audio.shape[-1], math.ceil(audio.shape[-1] / (_TONE_SECONDS * SAMPLE_RATE)) + 1
    phases = torch.rand(count, 1, generator=generator, dtype=torch.float64)
    on = (torch.rand(count, blocks, generator=generator) < 0.5).double()
    gates = functional.interpolate(on[None], samples, mode="linear", align_corners=True)[0]
    time = torch.arange(samples, dtype=torch.float64) / SAMPLE_RATE
    frequencies = torch.linspace(low, high, count, dtype=torch.float64)[:, None]
    tones = (gates * torch.sin(2 * math.pi * (frequencies * time + phases))).sum(dim=0)
    return audio + (tones / max(_rms(tones), 1e-12) * _rms(audio) * 10 ** (decibels / 20)).to(audio)


def _other_song(audio: Tensor, share: float, other: Tensor) -> Tensor:
    """A mix with another song at the same energy: `1 - share` of the one, `share` of the other."""
    foreign = another_song(audio, other).to(audio)
    return torch.lerp(audio, foreign * (_rms(audio) / max(_rms(foreign), 1e-12)), share)


_KBPS = (320, 256, 192, 128, 96, 64, 48, 32, 24, 16)

DISTORTIONS: Mapping[str, Distortion] = {
    kind.name: kind
    for kind in (
        Distortion("noise", "white noise, relative to the signal", "dB", (-60, -50, -40, -30, -20, -10, 0), _noise),
        Distortion("lowpass", "low-pass filter, corner frequency", "kHz", (16, 12, 10, 8, 6, 4, 3, 2), _lowpass),
        Distortion("mp3", "MP3 (LAME) and back", "kbit/s", _KBPS, _mp3),
        Distortion("opus", "Opus and back", "kbit/s", _KBPS, _opus),
        Distortion("quantization", "rounding, no dither", "bits", (16, 14, 12, 10, 8, 6, 4), _quantization),
        Distortion("clipping", "hard clipping below the peak", "dB", (1, 3, 6, 9, 12, 18, 24), _clipping),
        Distortion("shift", "delay", "ms", (0.02, 0.1, 0.3, 1, 3, 10, 20, 40), _shift),
        Distortion("gain", "attenuation", "dB", (-0.5, -1, -2, -4, -8, -12, -20), _gain),
        Distortion("narrowing", "share of the side signal taken away", "", (0.1, 0.25, 0.5, 0.75, 0.9, 1), _narrowing),
        Distortion("shimmer", "tones at 5.2-7.1 kHz that come and go", "dB", (-50, -40, -30, -20, -10), _shimmer),
        Distortion("other_song", "another song's share", "", (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1), _other_song),
    )
}
