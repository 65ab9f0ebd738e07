"""Fréchet audio distance: how far two corpora's embeddings lie apart, each taken as one Gaussian.

A quantity of a whole suite, not of a pair of recordings. Sources: Dowson & Landau (1982), *The Fréchet distance
between multivariate normal distributions*; Kilgour et al., arXiv 1812.08466, for audio; Gui et al., arXiv
2311.01616, for what the number of frames and the choice of the embedder do to it.
"""

from __future__ import annotations

import importlib
import math
from typing import Protocol

import torch
import torchaudio
from torch import Tensor
from torch.nn import functional

from heartopt.audio import SAMPLE_RATE
from heartopt.errors import ConfigError


class Embedder(Protocol):
    """Turns audio into embeddings. Distances of different embedders do not compare."""

    @property
    def name(self) -> str:
        """What a report calls it, with its version where it has one."""
        ...

    def embed(self, audio: Tensor) -> Tensor:
        """Audio `[C, N]` at 48 kHz -> `[frames, dim]`, at least one frame; `dim` is always the same."""
        ...


class SpectralEmbedder:
    """Means and standard deviations of 32 log-mel bands over patches of 0.288 s, one every 0.128 s: 64 numbers.

    The channels' mean; STFT of 2048 samples, hop 512, Hann; 32 HTK mel bands up to 24 kHz; log10 of magnitudes
    (1 is a full-scale tone), floored at 1e-4. Means and deviations over a patch's 24 frames are in decades, so the
    distance is in squared decades, and a gain of 20 dB moves it by 32. It needs no download and learns nothing: it
    is timbre and level and how both move within a patch. It knows no pitch, melody or stereo, and its numbers are
    not comparable with published ones, whose embedders are trained networks (VGGish, CLAP, EnCodec). Audio that is
    shorter than a patch is padded with zeros; what is left behind the last whole patch is not seen.
    """

    name = "spectral-1"
    _FFT, _HOP, _FRAMES, _STEP = 2048, 512, 24, 12  # samples, samples, frames of a patch, frames between patches
    _BANDS, _FLOOR, _BATCH = 32, 1e-4, 256

    def __init__(self) -> None:
        self._window = torch.hann_window(self._FFT)
        bins = self._FFT // 2 + 1
        self._bank = torchaudio.functional.melscale_fbanks(bins, 0.0, SAMPLE_RATE / 2, self._BANDS, SAMPLE_RATE)

    def embed(self, audio: Tensor) -> Tensor:
        """Audio `[C, N]` at 48 kHz -> `[frames, 64]`, float32 on the CPU."""
        length = self._FFT + (self._FRAMES - 1) * self._HOP
        mono = audio.detach().float().cpu().mean(dim=0)
        mono = functional.pad(mono, (0, max(0, length - mono.shape[-1])))
        patches = mono.unfold(-1, length, self._STEP * self._HOP)
        return torch.cat([self._features(part) for part in patches.split(self._BATCH)])

    def _features(self, patches: Tensor) -> Tensor:
        """`[P, samples]` -> `[P, 64]`."""
        spectrum = torch.stft(
            patches, self._FFT, self._HOP, window=self._window, center=False, return_complex=True
        )
        magnitudes = spectrum.abs().transpose(1, 2) * (2 / self._window.sum())  # [P, frames, bins]
        levels = (magnitudes @ self._bank).clamp(min=self._FLOOR).log10()
        return torch.cat([levels.mean(dim=1), levels.std(dim=1, correction=0)], dim=-1)


class GaussianFit:
    """Mean and covariance of embeddings, added file by file: memory does not grow with the corpus. In float64.

    Attributes:
        frames: embeddings seen.
        mean: `[dim]`; empty before the first.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self._scatter = torch.zeros(0, 0, dtype=torch.float64)  # summed outer products of deviations from the mean

    @property
    def covariance(self) -> Tensor:
        """`[dim, dim]`, unbiased; NaN for fewer than two frames. Singular for fewer than `dim` + 1."""
        return self._scatter / (self.frames - 1 if self.frames > 1 else math.nan)

    def add(self, embeddings: Tensor) -> None:
        """Take in `[frames, dim]`. Raises ConfigError for another shape, dimension, or what is not finite."""
        if embeddings.dim() != 2 or embeddings.numel() == 0 or not embeddings.isfinite().all():
            what = f"{list(embeddings.shape)} {embeddings.dtype}"
            raise ConfigError(f"embeddings must be finite numbers [frames, dim] with at least one frame, got {what}")
        rows = embeddings.detach().double().cpu()
        part = GaussianFit()
        part.frames, part.mean = len(rows), rows.mean(dim=0)
        part._scatter = (rows - part.mean).T @ (rows - part.mean)
        self.merge(part)

    def merge(self, other: GaussianFit) -> None:
        """Take in what another fit has seen (the pairwise update of Chan, Golub and LeVeque, 1979)."""
        if other.frames == 0:
            return
        if self.frames == 0:
            self.frames, self.mean, self._scatter = other.frames, other.mean.clone(), other._scatter.clone()
            return
        if self.mean.shape != other.mean.shape:
            raise ConfigError(f"embeddings must have one dimension, not {len(self.mean)} and {len(other.mean)}")
        total = self.frames + other.frames
        delta = other.mean - self.mean
        self._scatter = self._scatter + other._scatter + torch.outer(delta, delta) * self.frames * other.frames / total
        self.mean = self.mean + delta * other.frames / total
        self.frames = total


def frechet_distance(estimate: GaussianFit, target: GaussianFit) -> float:
    """The squared Fréchet (2-Wasserstein) distance of two Gaussians: |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½).

    In the embedder's squared unit, symmetric; 0 is equal means and covariances, lower is better, no upper limit.
    The trace of the root is the sum of the singular values of Σ₁^½ Σ₂^½: real and exact for singular
    covariances too. NaN where either side has fewer than two frames. With few frames beside the dimension the
    distance of two samples of the same source is well above 0 (each covariance misses directions): compare
    systems on the same songs, and no values of suites of different lengths. Blind to which song is which: a
    system that swaps all songs of a suite scores 0.

    Raises:
        ConfigError: embeddings of two dimensions.
    """
    if min(estimate.frames, target.frames) < 2:
        return math.nan
    if estimate.mean.shape != target.mean.shape:
        raise ConfigError(f"embeddings must have one dimension, not {len(estimate.mean)} and {len(target.mean)}")
    roots = [_root(fit.covariance) for fit in (estimate, target)]
    means = float((estimate.mean - target.mean).square().sum())
    traces = float(estimate.covariance.trace() + target.covariance.trace())
    return max(0.0, means + traces - 2 * float(torch.linalg.svdvals(roots[0] @ roots[1]).sum()))


def _root(covariance: Tensor) -> Tensor:
    """The symmetric root of a covariance; eigenvalues that rounding made negative count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def load_embedder(spec: str) -> Embedder:
    """"spectral", or "module:Class": a class of yours that is made without arguments. Raises ConfigError."""
    if spec == "spectral":
        return SpectralEmbedder()
    module, _, name = spec.partition(":")
    if not module or not name:
        raise ConfigError(f"embedder {spec}: give spectral or module:Class")
    try:
        made = getattr(importlib.import_module(module), name)()
    except Exception as error:  # whatever somebody's module raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"embedder {spec} cannot be loaded: {reason}") from error
    if not isinstance(getattr(made, "name", None), str) or not callable(getattr(made, "embed", None)):
        raise ConfigError(f"embedder {spec} needs a name (text) and embed(audio [C, N]) -> [frames, dim]")
    embedder: Embedder = made
    return embedder
