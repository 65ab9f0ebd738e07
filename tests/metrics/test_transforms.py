from __future__ import annotations

import pytest
import torch

from heartopt import losses
from heartopt.metrics import transforms
from heartopt.metrics.transforms import frame_count, reduced_magnitude, spectrum_and_magnitude


def noise(samples: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("at_once", [2048, 6000, 1 << 17])  # samples: down to one frame a block, up to one block
@pytest.mark.parametrize("size", [32, 512, 2048])
def test_it_is_the_transform_of_the_losses(size: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "_AT_ONCE", at_once)
    for samples in (2048, 9601):
        expected = losses.stft(noise(samples), size)
        spectrum, levels = spectrum_and_magnitude(noise(samples), size)
        torch.testing.assert_close(spectrum, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(levels, expected.abs(), rtol=1e-5, atol=1e-5)
        assert levels.shape == (2, size // 2 + 1, frame_count(noise(samples), size))


def test_double_precision_is_kept() -> None:
    audio = noise(4096, torch.float64)
    spectrum, levels = spectrum_and_magnitude(audio, 512)
    torch.testing.assert_close(spectrum, losses.stft(audio, 512))
    torch.testing.assert_close(levels, losses.stft(audio, 512).abs())


def test_frames_are_reduced_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "_AT_ONCE", 5 * 64)
    found = reduced_magnitude(noise(4096), 64, 1, lambda levels: levels.amax(dim=0, keepdim=True))
    torch.testing.assert_close(found, losses.stft(noise(4096), 64).abs().amax(dim=1, keepdim=True))
