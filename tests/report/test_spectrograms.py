from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from heartopt.audio import SAMPLE_RATE
from heartopt.report.spectrograms import (
    DIFFERENCE_DB,
    FFT_SIZE,
    MOST_COLUMNS,
    difference,
    draw_sounds,
    make_figure,
    spectrogram,
)

pytest.importorskip("matplotlib")


def tone(seconds: float, hertz: float = 6_000.0, amplitude: float = 1.0) -> Tensor:
    time = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (amplitude * torch.sin(2 * math.pi * hertz * time)).expand(2, -1)


def titles(figure: Any) -> list[str]:
    return [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]


def test_levels_are_those_of_a_sine() -> None:
    """6 kHz is the middle of bin 256; halving the one channel of two quarters the mean: 1 -> 0.75 of full scale."""
    audio = torch.cat([tone(1.0)[:1], 0.5 * tone(1.0)[:1]])
    level, hop = spectrogram(audio)
    inner = level[:, math.ceil(FFT_SIZE / 2 / 48_000 / hop) : -math.ceil(FFT_SIZE / 2 / 48_000 / hop)]
    np.testing.assert_allclose(inner[256], 20 * math.log10(0.75), atol=1e-3)
    assert inner[:250].max() < -60 and inner[262:].max() < -60
    assert spectrogram(torch.zeros(2, 2_400))[0].max() == pytest.approx(-140)


@pytest.mark.parametrize("seconds", [0.05, 1.0, 100.0])
def test_columns_reach_over_the_song_and_are_bounded(seconds: float) -> None:
    level, hop = spectrogram(tone(seconds))
    assert level.shape[1] <= MOST_COLUMNS
    assert (level.shape[1] - 1) * hop < seconds <= level.shape[1] * hop


def test_a_difference_is_that_of_the_levels_above_the_floor() -> None:
    """A tenth of the amplitude is 20 dB quieter; what neither has is equal, and so is a sound and itself."""
    quieter, _ = difference(tone(0.5, amplitude=0.1), tone(0.5), floor=-60.0)
    np.testing.assert_allclose(quieter[256], -20.0, atol=1e-3)
    inner = quieter[:, 10:-10]  # a sine that begins or ends is a click
    assert not inner[:200].any() and not inner[300:].any()
    assert not difference(tone(0.5), tone(0.5), floor=-60.0)[0].any()
    louder, _ = difference(tone(0.5), tone(0.3), floor=-60.0)  # which has ended at 0.3 s
    assert louder[256, -5:].min() > 50 and abs(louder[256, :40]).max() < 0.1


def test_a_difference_has_the_spectrograms_columns() -> None:
    for seconds in (0.05, 1.0, 100.0):
        apart, hop = difference(tone(seconds), tone(seconds), floor=-80.0)
        level, own_hop = spectrogram(tone(seconds))
        assert apart.shape == level.shape and hop == own_hop


def test_sounds_of_other_lengths_share_the_time_axis() -> None:
    """Longer songs have wider columns; the difference has those of the longer one."""
    figure = make_figure(title="song.wav", sounds={"original": tone(15.0), "result": tone(25.0)})
    ends = [axis.images[0].get_extent()[1] for axis in figure.axes[:3]]
    assert ends == pytest.approx([15.0, 25.0, 25.0], abs=0.02)


def test_panels_are_the_sounds_and_then_the_difference() -> None:
    sounds = {"original": tone(1.0), "start": tone(1.0, 3_000, 0.1), "result": tone(1.0, 6_000, 0.5)}
    figure = make_figure(title="song.wav", sounds=sounds)
    assert titles(figure) == [*sounds, "difference: result − original (red: louder, blue: quieter)"]
    last = figure.axes[len(sounds)]
    assert last.images[0].get_clim() == (-DIFFERENCE_DB, DIFFERENCE_DB)
    np.testing.assert_allclose(last.images[0].get_array()[256], -6.02, atol=0.01)
    assert last.get_xlim() == (0.0, 1.0) and last.get_ylim() == (0.0, 12.0)
    assert [line.get_ydata()[0] for line in last.lines] == [4.0, 8.0]
    assert [text.get_text() for text in last.texts] == ["shimmer band, 4–8 kHz"]


def test_one_sound_has_no_difference() -> None:
    assert titles(make_figure(title="", sounds={"alone": tone(0.2)})) == ["alone"]


@pytest.mark.filterwarnings("error")
def test_a_png_appears_whatever_the_song_is_called(tmp_path: Path) -> None:
    sounds = {"千本桜": tone(0.1), "$_{$": tone(0.2)}
    draw_sounds(tmp_path / "song.png", title="<img>\udcff $_{$", sounds=sounds)
    assert (tmp_path / "song.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["song.png"]
