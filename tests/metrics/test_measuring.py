from __future__ import annotations

import math

import pytest
import torch

from heartopt.errors import AudioError, ConfigError
from heartopt.losses import mel_distance, stft_log1p, stft_loss
from heartopt.metrics import measuring
from heartopt.metrics.measuring import METRICS, average, measure


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))


def test_identity_is_perfect_in_every_metric() -> None:
    found = measure(noise(48_000), noise(48_000))
    assert set(found) == set(METRICS)
    best = {"si_sdr": 100.0, "pesq_wb": 4.644, "pesq_nb": 4.549}
    for name, value in found.items():
        assert value == pytest.approx(best.get(name, 0.0), abs=1e-3), name


def test_values_are_those_of_the_losses() -> None:
    pair = noise(24_000, 1), noise(24_000, 2)
    found = measure(*pair, ["mel", "stft"])
    assert list(found) == ["mel", "stft"]
    assert found == {"mel": float(mel_distance(*pair)), "stft": float(stft_loss(*pair))}


def test_long_recordings_are_averaged_over_equal_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SEGMENT_SECONDS", 0.5)
    pair = noise(60_000, 1), noise(60_000, 2)
    parts = [float(stft_loss(pair[0][:, a : a + 20_000], pair[1][:, a : a + 20_000])) for a in (0, 20_000, 40_000)]
    assert measure(*pair, ["stft"])["stft"] == pytest.approx(sum(parts) / 3)


def test_a_silent_passage_does_not_count_where_losses_are_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SEGMENT_SECONDS", 0.5)
    estimate, target = noise(48_000, 1), noise(48_000, 2)
    target[:, 24_000:] *= 1e-4
    found = measure(estimate, target, ["stft", "stft_log1p", "mel"])
    heard = estimate[:, :24_000], target[:, :24_000]
    assert found["stft"] == float(stft_loss(*heard))
    assert found["stft_log1p"] == float(stft_log1p(*heard))
    assert found["mel"] != float(mel_distance(*heard))


def test_nothing_is_relative_to_silence() -> None:
    found = measure(noise(4800), torch.zeros(2, 4800), ["stft", "stft_log1p"])
    assert all(math.isnan(float(value)) for value in found.values())


def test_average_leaves_nan_out_and_keeps_words() -> None:
    assert average([1.0, math.nan, 3.0]) == 2.0
    assert math.isnan(float(average([math.nan])))
    assert average([1.0, "not installed"]) == "not installed"


def test_refuses_unknown_metrics_and_other_shapes() -> None:
    with pytest.raises(ConfigError, match="unknown metric fad: choose from stft"):
        measure(noise(480), noise(480), ["stft", "fad"])
    with pytest.raises(AudioError, match=r"one shape, got \[2, 480\] and \[2, 481\]"):
        measure(noise(480), noise(481))
