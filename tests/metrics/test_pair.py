from __future__ import annotations

import pytest
import torch

from heartopt.audio import resample
from heartopt.metrics import pair as pairs
from heartopt.metrics.pair import Reference, Signal


def noise(samples: int, seed: int = 0, channels: int = 2) -> torch.Tensor:
    return 0.1 * torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("samples", [1, 2, 1440, 24_001])
@pytest.mark.parametrize("channels", [1, 2])
def test_speech_metrics_get_what_the_resampler_gives(samples: int, channels: int) -> None:
    audio = noise(samples, channels=channels)
    expected = resample(audio.mean(dim=0), 48_000, 16_000)
    found = torch.from_numpy(Signal(audio).mono_16k)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)  # of 0.1: two designs of a -95 dB stop band


def test_what_is_made_once_is_kept() -> None:
    signal, made = Signal(noise(480)), []
    for _ in range(3):
        assert signal.once("key", lambda: made.append(1) or 7) == 7
    assert made == [1]


def test_segments_are_equal_and_cover_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "SEGMENT_SECONDS", 0.05)
    estimate, target = noise(7201, 1), noise(7201)
    found = [make() for make in Reference(target).pairs(estimate)]
    assert [pair.target.audio.shape[1] for pair in found] == [1801, 1800, 1800, 1800]
    assert torch.equal(torch.cat([pair.target.audio for pair in found], dim=1), target)
    assert torch.equal(torch.cat([pair.estimate.audio for pair in found], dim=1), estimate)


def test_the_transforms_of_a_short_song_are_kept_and_those_of_a_long_one_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pairs, "SEGMENT_SECONDS", 0.05)
    for segments, kept in ((1, True), (2, True), (3, False)):
        reference = Reference(noise(2400 * segments))
        first, second = (reference.pairs(noise(2400 * segments, seed))[0]().target for seed in (1, 2))
        assert (first is second) == kept, segments
