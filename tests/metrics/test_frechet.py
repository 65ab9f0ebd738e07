from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heartopt.audio import AudioFile
from heartopt.errors import ConfigError
from heartopt.metrics.frechet import GaussianFit, SpectralEmbedder, frechet_distance, load_embedder

EXCERPT = Path(__file__).parents[2] / "benchmarks" / "suites" / "excerpts" / "living-caves.flac"


def fit(*parts: Tensor) -> GaussianFit:
    found = GaussianFit()
    for part in parts:
        found.add(part)
    return found


def draw(frames: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(frames, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exactly(mean: Tensor, covariance: Tensor) -> GaussianFit:
    """A fit with exactly these moments: whitened draws, coloured."""
    rows = draw(4 * len(mean), len(mean))
    rows = rows - rows.mean(dim=0)
    white = rows @ torch.linalg.inv(torch.linalg.cholesky(rows.T @ rows / (len(rows) - 1)).T)
    values, vectors = torch.linalg.eigh(covariance)
    return fit(white @ (vectors * values.clamp(min=0).sqrt()) @ vectors.T + mean)


def test_one_dimension_has_a_closed_form() -> None:
    a = exactly(torch.tensor([1.0]).double(), torch.tensor([[4.0]]).double())
    b = exactly(torch.tensor([-2.0]).double(), torch.tensor([[9.0]]).double())
    assert frechet_distance(a, b) == pytest.approx((1 + 2) ** 2 + (2 - 3) ** 2)


def test_covariances_that_commute_have_a_closed_form() -> None:
    vectors = torch.linalg.qr(draw(4, 4)).Q
    first, second = torch.tensor([1.0, 4, 9, 0.25]).double(), torch.tensor([4.0, 1, 9, 0]).double()
    mean = torch.tensor([0.5, 0, 0, -1]).double()
    a = exactly(torch.zeros(4).double(), vectors @ first.diag() @ vectors.T)
    b = exactly(mean, vectors @ second.diag() @ vectors.T)  # singular: its last direction has no variance
    expected = float(mean.square().sum() + (first.sqrt() - second.sqrt()).square().sum())
    assert frechet_distance(a, b) == pytest.approx(expected) == pytest.approx(frechet_distance(b, a))


def test_covariances_that_do_not_commute_agree_with_the_root_of_the_product() -> None:
    covariances = [draw(9, 3, seed).T.cov() for seed in (1, 2)]
    a, b = (exactly(torch.zeros(3).double(), covariance) for covariance in covariances)
    # the eigenvalues of the product are those of its square root, squared
    root = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.sqrt().sum()
    expected = float(covariances[0].trace() + covariances[1].trace() - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected)


@pytest.mark.parametrize("frames", [2, 5, 200])
def test_identity_is_zero_however_few_the_frames(frames: int) -> None:
    rows = draw(frames, 16) * torch.logspace(-3, 2, 16)
    assert frechet_distance(fit(rows), fit(rows)) == pytest.approx(0, abs=1e-9)


def test_too_few_frames_are_nan() -> None:
    assert math.isnan(frechet_distance(fit(draw(1, 4)), fit(draw(9, 4))))
    assert math.isnan(frechet_distance(fit(draw(9, 4)), GaussianFit()))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 99), st.floats(-1e3, 1e3))
def test_adding_in_parts_and_merging_is_the_whole(lengths: list[int], seed: int, offset: float) -> None:
    rows = draw(sum(lengths) + 1, 3, seed) + offset
    whole = fit(rows)
    parts = rows.split([*lengths, 1])
    merged = fit(parts[0])
    merged.merge(fit(*parts[1:]))
    merged.merge(GaussianFit())
    for found in (fit(*parts), merged):
        assert found.frames == len(rows)
        assert torch.allclose(found.mean, rows.mean(dim=0), rtol=1e-9, atol=1e-9)
        assert torch.allclose(found.covariance, rows.T.cov(), rtol=1e-6, atol=1e-9)
        assert torch.allclose(found.covariance, whole.covariance, rtol=1e-6, atol=1e-9)


def test_embeddings_must_be_finite_rows_of_one_dimension() -> None:
    for wrong in (torch.zeros(3), torch.zeros(0, 3), torch.tensor([[math.nan, 0]])):
        with pytest.raises(ConfigError, match="finite numbers"):
            fit(wrong)
    with pytest.raises(ConfigError, match="one dimension, not 4 and 3"):
        fit(draw(2, 4), draw(2, 3))
    with pytest.raises(ConfigError, match="one dimension, not 4 and 3"):
        frechet_distance(fit(draw(2, 4)), fit(draw(2, 3)))


@pytest.fixture(scope="module")
def music() -> Tensor:
    with AudioFile(EXCERPT) as audio:
        return audio.read(0, 3 * 48_000)


def test_the_spectral_embedder_says_what_it_says(music: Tensor) -> None:
    embedder = SpectralEmbedder()
    found = embedder.embed(music)
    assert found.shape == ((music.shape[-1] - 13_824) // 6_144 + 1, 64)
    louder = embedder.embed(music * 10)  # 20 dB: every mean by one decade, no deviation, where nothing is floored
    loud = found[:, :32] > -2.5
    assert torch.allclose((louder - found)[:, :32][loud], torch.ones(int(loud.sum())), atol=0.05)
    tone = torch.sin(2 * math.pi * 1_000 * torch.arange(48_000, dtype=torch.float64) / 48_000)
    steady = embedder.embed(tone.float()[None])
    assert float(steady[:, :32].max()) == pytest.approx(0, abs=0.5) and float(steady[:, 32:].max()) < 0.1
    assert embedder.embed(music[:, :10]).shape == (1, 64)
    assert embedder.embed(torch.zeros(2, 48_000)).isfinite().all()


def test_long_files_are_embedded_in_parts_that_equal_the_whole(music: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SpectralEmbedder().embed(music)
    monkeypatch.setattr(SpectralEmbedder, "_BATCH", 7)
    assert torch.allclose(SpectralEmbedder().embed(music), whole, atol=1e-6)


def test_distance_grows_with_noise(music: Tensor) -> None:
    embedder = SpectralEmbedder()
    target = fit(embedder.embed(music))
    noise = torch.randn(music.shape, generator=torch.Generator().manual_seed(0)) * music.std()
    gains = (0, 1e-3, 1e-2, 1e-1, 1)
    distances = [frechet_distance(fit(embedder.embed(music + gain * noise)), target) for gain in gains]
    assert distances[0] == pytest.approx(0, abs=1e-9)
    assert distances == sorted(distances) and distances[-1] > 10


class Mine:
    """An embedder that somebody else wrote."""

    name = "mine"

    def embed(self, audio: Tensor) -> Tensor:
        return audio.T


class NoEmbedder:
    pass


def test_an_embedder_is_found_by_module_and_class() -> None:
    assert load_embedder("spectral").name == SpectralEmbedder.name
    assert load_embedder(f"{__name__}:Mine").embed(torch.zeros(2, 5)).shape == (5, 2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vggish", "give spectral or module:Class"),
        ("no_such_module:Class", "no_such_module:Class cannot be loaded: No module named"),
        (f"{__name__}:Missing", "cannot be loaded"),
        (f"{__name__}:NoEmbedder", "needs a name"),
    ],
)
def test_what_is_no_embedder_is_refused_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_embedder(spec)
    assert "\n" not in str(caught.value)
