"""What counts as shimmer: closed forms on made-up magnitudes, and settings that are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from heartopt.errors import ConfigError
from heartopt.shimmer import DeshimmerParams, Shimmer, judge, running_median

BINS = 91
HERTZ = torch.linspace(5_100, 7_200, BINS, dtype=torch.float64)
MIDDLE = BINS // 2


def _judge(frames: Tensor, params: DeshimmerParams) -> Shimmer:
    return judge(frames, torch.arange(len(frames) - 1), HERTZ, params)


def _flat(*levels_db: float) -> Tensor:
    """Frames of equal magnitude in all bins, `[T + 1, K]`."""
    return (10 ** (torch.tensor(levels_db, dtype=torch.float64) / 20))[:, None].expand(-1, BINS).clone()


def test_one_bin_above_a_flat_band_is_turned_down_by_the_written_formula() -> None:
    excess = 20.0  # dB
    frames = _flat(0, 0)
    frames[:, MIDDLE] *= 10 ** (excess / 20)
    params = DeshimmerParams()
    found = _judge(frames, params)

    power = 10 ** (excess / 10)
    flatness = power ** (1 / BINS) / ((BINS - 1 + power) / BINS)
    noise = (flatness - 0.25) / 0.45
    assert 0.25 < flatness < 0.70
    assert params.density[0] > 1 / BINS  # one bin is narrow
    expected = 1 - noise * (1 - 10 ** (-0.6 * (excess - 8) / 20))
    torch.testing.assert_close(found.residual_db[0, MIDDLE].item(), excess, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.gain[0, MIDDLE].item(), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.noise[0].item(), noise, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.attenuation_db[0, MIDDLE].item(), -20 * math.log10(expected), rtol=0, atol=1e-9)
    others = torch.arange(BINS) != MIDDLE
    assert bool((found.gain[0, others] == 1).all())
    assert found.stands_out.nonzero().tolist() == [[0, MIDDLE]]
    assert found.share == pytest.approx(1 / BINS)


def test_up_to_the_threshold_nothing_happens() -> None:
    frames = _flat(0, 0)
    frames[:, MIDDLE] *= 10 ** (7.99 / 20)
    assert bool((_judge(frames, DeshimmerParams()).gain == 1).all())


@pytest.mark.parametrize(("rise", "share"), [(0, 1), (6, 1), (10, 0.5), (14, 0), (30, 0), (-30, 1)])
def test_a_transient_is_let_through_by_how_far_the_band_rises(rise: float, share: float) -> None:
    frames = _flat(-rise, 0)
    frames[:, MIDDLE] *= 10 ** (10 / 20)
    steady = frames.clone()
    steady[0] = steady[1]
    removed = 1 - _judge(frames, DeshimmerParams()).gain[0, MIDDLE]
    usual = 1 - _judge(steady, DeshimmerParams()).gain[0, MIDDLE]
    assert usual > 0.05
    torch.testing.assert_close(removed, share * usual, rtol=1e-6, atol=1e-9)


def test_many_bins_that_stand_out_are_music() -> None:
    few, many = _flat(0, 0), _flat(0, 0)
    few[:, 20] *= 4
    many[:, 5:86:6] *= 4  # 14 of 91 bins: 0.154
    params = DeshimmerParams(flatness=(0.0, 0.1))  # so that only their number speaks
    assert _judge(few, params).gain[0, 20] < 0.85
    found = _judge(many, params)
    assert int(found.stands_out.sum()) == 14
    assert bool((found.gain == 1).all())


def test_a_tone_that_carries_the_band_is_music() -> None:
    frames = _flat(-60, -60)
    frames[:, MIDDLE] = 1
    found = _judge(frames, DeshimmerParams())
    assert float(found.noise[0]) == 0
    assert bool((found.gain == 1).all())


def test_the_effect_sets_in_as_a_raised_cosine_inside_the_band() -> None:
    params = DeshimmerParams()
    edge = _judge(_flat(0, 0), params).edge
    inside = torch.minimum(HERTZ - 5_100, 7_200 - HERTZ).clamp(max=200)
    torch.testing.assert_close(edge, torch.sin(math.pi / 2 * inside / 200) ** 2)
    assert edge[0] == edge[-1] == 0
    assert bool((_judge(_flat(0, 0), DeshimmerParams(edge=0)).edge == 1).all())


@pytest.mark.parametrize("width", [3, 5, 9, 15])
def test_running_median_is_the_median_of_the_neighbours(width: int) -> None:
    values = torch.randn(7, 40, generator=torch.Generator().manual_seed(width))
    half = width // 2
    padded = torch.nn.functional.pad(values[None], (half, half), mode="replicate")[0]
    expected = padded.unfold(1, width, 1).median(dim=-1).values
    assert torch.equal(running_median(values, width), expected)


def test_silence_is_left_alone() -> None:
    found = _judge(torch.zeros(3, BINS, dtype=torch.float64), DeshimmerParams(threshold=0))
    assert bool((found.gain == 1).all())
    assert found.share == 0


def test_parts_are_joined_in_order() -> None:
    frames = torch.rand(9, BINS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = judge(frames, torch.arange(8), HERTZ, DeshimmerParams())
    parts = [
        judge(frames[a : b + 1], torch.arange(a, b), HERTZ, DeshimmerParams()) for a, b in ((0, 3), (3, 4), (4, 8))
    ]
    joined = Shimmer.joined(parts)
    assert torch.equal(joined.gain, whole.gain)
    assert torch.equal(joined.seconds, whole.seconds)
    assert joined.share == whole.share


def test_band_by_centre_and_cents() -> None:
    octave = DeshimmerParams.around(6_000, 1_200, threshold=5)
    assert octave.high == pytest.approx(2 * octave.low)
    assert octave.low * octave.high == pytest.approx(6_000**2)
    assert octave.threshold == 5


def test_bins_are_those_inside_the_band() -> None:
    found = DeshimmerParams().bins(48_000)
    width = 48_000 / 2_048
    assert found.start * width >= 5_100 > (found.start - 1) * width
    assert (found.stop - 1) * width <= 7_200 < found.stop * width


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"low": 7_200, "high": 5_100}, "band"),
        ({"low": -1}, "band"),
        ({"high": math.inf}, "band"),
        ({"low": math.nan}, "band"),
        ({"threshold": -1}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
        ({"slope": -0.1}, "slope"),
        ({"edge": -1}, "edge"),
        ({"fade": math.inf}, "fade"),
        ({"mix": 1.1}, "mix"),
        ({"resynthesis": -0.1}, "resynthesis"),
        ({"flatness": (0.7, 0.25)}, "flatness"),
        ({"transient": (6, 6)}, "transient"),
        ({"density": (0.1,)}, "density"),
        ({"median_bins": 8}, "median_bins"),
        ({"median_bins": 1}, "median_bins"),
        ({"hop": 500}, "hop"),
        ({"hop": 2_048}, "hop"),
        ({"hop": 0}, "hop"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_settings_are_one_clear_line(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        DeshimmerParams(**settings)
    assert "\n" not in str(caught.value)


def test_no_transform_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of two hops"):
        DeshimmerParams(fft_size=0)


@pytest.mark.parametrize(("centre", "cents"), [(0, 600), (6_000, 0), (6_000, 13_000), (math.nan, 600)])
def test_bad_band_in_cents(centre: float, cents: float) -> None:
    with pytest.raises(ConfigError, match="cents"):
        DeshimmerParams.around(centre, cents)


def test_settings_from_a_file_may_be_lists() -> None:
    listed: Any = [0.1, 0.2]
    assert DeshimmerParams(flatness=listed) == DeshimmerParams(flatness=(0.1, 0.2))


def test_a_band_that_the_rate_cannot_hold() -> None:
    with pytest.raises(ConfigError, match="12000 Hz"):
        DeshimmerParams(low=10_000, high=13_000).bins(24_000)
    with pytest.raises(ConfigError, match="wider band"):
        DeshimmerParams(low=6_000, high=6_100).bins(48_000)
