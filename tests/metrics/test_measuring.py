from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from heartopt.errors import AudioError, ConfigError
from heartopt.losses import LOSSES, mel_distance, stft_log1p, stft_loss
from heartopt.metrics import pair as pairs
from heartopt.metrics import transforms
from heartopt.metrics.measuring import DEFAULT_METRICS, METRICS, average, check_metrics, measure
from heartopt.metrics.pair import Reference


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))


def test_identity_is_perfect_in_every_metric() -> None:
    found = measure(noise(48_000), noise(48_000))
    assert tuple(found) == DEFAULT_METRICS
    best = {"si_sdr": 100.0, "si_sdr_aligned": 100.0, "pesq_wb": 4.644, "pesq_nb": 4.549}
    for name, value in found.items():
        assert value == pytest.approx(best.get(name, 0.0), abs=1e-3), name


def test_values_are_those_of_the_losses() -> None:
    pair = noise(24_000, 1), noise(24_000, 2)
    found = measure(*pair, ["mel", "stft"])
    assert list(found) == ["mel", "stft"]
    assert found == pytest.approx({"mel": float(mel_distance(*pair)), "stft": float(stft_loss(*pair))}, rel=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("samples", [300, 24_000])
def test_every_loss_is_a_metric_of_the_same_value(name: str, samples: int) -> None:
    pair = noise(samples, 1), noise(samples, 2)
    assert measure(*pair, [name])[name] == pytest.approx(float(LOSSES[name](*pair)), rel=1e-5)


def test_long_recordings_are_averaged_over_equal_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "SEGMENT_SECONDS", 0.5)
    pair = noise(60_000, 1), noise(60_000, 2)
    parts = [float(stft_loss(pair[0][:, a : a + 20_000], pair[1][:, a : a + 20_000])) for a in (0, 20_000, 40_000)]
    assert measure(*pair, ["stft"])["stft"] == pytest.approx(sum(parts) / 3)


def test_a_silent_passage_does_not_count_where_losses_are_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "SEGMENT_SECONDS", 0.5)
    estimate, target = noise(48_000, 1), noise(48_000, 2)
    target[:, 24_000:] *= 1e-4
    found = measure(estimate, target, ["stft", "stft_log1p", "mel"])
    heard = estimate[:, :24_000], target[:, :24_000]
    assert found["stft"] == pytest.approx(float(stft_loss(*heard)), rel=1e-5)
    assert found["stft_log1p"] == pytest.approx(float(stft_log1p(*heard)), rel=1e-5)
    assert found["mel"] != float(mel_distance(*heard))


def test_nothing_is_relative_to_silence() -> None:
    found = measure(noise(4800), torch.zeros(2, 4800), ["stft", "stft_log1p"])
    assert all(math.isnan(float(value)) for value in found.values())


def test_average_leaves_nan_out_and_keeps_words() -> None:
    assert average([1.0, math.nan, 3.0]) == 2.0
    assert math.isnan(float(average([math.nan])))
    assert average([1.0, "not installed"]) == "not installed"


def test_names_of_groups_stand_for_their_metrics_each_once() -> None:
    assert check_metrics(["default"]) == DEFAULT_METRICS
    assert check_metrics(["visqol", "all", "stft"]) == ("visqol", *(name for name in METRICS if name != "visqol"))
    assert check_metrics(["default", "stoi", "stoi"]) == (*DEFAULT_METRICS, "stoi")


def test_refuses_unknown_metrics_and_other_shapes() -> None:
    with pytest.raises(ConfigError, match="unknown metric fad: choose from stft"):
        measure(noise(480), noise(480), ["stft", "fad"])
    with pytest.raises(AudioError, match=r"one shape, got \[2, 480\] and \[2, 481\]"):
        measure(noise(480), noise(481))
    with pytest.raises(AudioError, match=r"a target \[480\] float32"):
        measure(noise(480)[0], noise(480)[0])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e7])
@pytest.mark.parametrize("side", [0, 1])
def test_samples_that_cannot_be_sound_are_refused_in_one_line(bad: float, side: int) -> None:
    pair = [noise(480), noise(480)]
    pair[side][0, 96] = pair[side][1, 200] = bad
    words = f"the {('estimate', 'target')[side]} has 2 NaN, infinite or huge samples, the first at 0.002 s"
    with pytest.raises(AudioError, match=words) as caught:
        measure(*pair, ["mel"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [1, 2])
def test_thirty_milliseconds_are_measured(channels: int) -> None:
    found = measure(noise(1440, 1)[:channels], noise(1440, 2)[:channels])
    nan = {name for name, value in found.items() if isinstance(value, float) and math.isnan(value)}
    assert nan == {"pesq_wb", "pesq_nb"}


def test_silence_on_either_side_is_a_number_or_nan() -> None:
    silence, sound = torch.zeros(2, 24_000), noise(24_000)
    for pair in ((silence, sound), (sound, silence), (silence, silence)):
        assert all(isinstance(value, float) and not math.isinf(value) for value in measure(*pair).values())


def test_every_transform_is_made_once_for_all_metrics_and_a_song_s_for_all_estimates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[int, torch.Tensor]] = []  # holds the audio: what is freed may lend its address to another

    def counted(audio: torch.Tensor, size: int) -> Iterator[tuple[int, slice, torch.Tensor]]:
        made.append((size, audio))
        return blocks(audio, size)

    blocks = transforms.blocks
    monkeypatch.setattr(transforms, "blocks", counted)
    reference = Reference(noise(9600))
    values = [measure(noise(9600, seed), reference) for seed in (1, 2)]
    assert sorted(size for size, _ in made) == sorted(3 * (32, 64, 128, 256, 512, 1024, 2048))
    assert len({(size, id(audio)) for size, audio in made}) == len(made)
    assert values[0] != values[1] == measure(noise(9600, 2), noise(9600))


def test_long_songs_keep_no_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "SEGMENT_SECONDS", 0.05)
    reference = Reference(noise(9600))
    first, second = (reference.pairs(noise(9600, 1))[0]().target for _ in range(2))
    assert first is not second
    short = Reference(noise(2400))
    first, second = (short.pairs(noise(2400, 1))[0]().target for _ in range(2))
    assert first is second
