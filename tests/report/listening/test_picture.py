"""Spectrograms show a tone where it is and as strong as it is; outlines are the waveform's."""

from __future__ import annotations

import io
import math

import matplotlib.image
import numpy as np
import pytest
import torch

from heartopt.report.listening import picture

RATE = 48_000


def tone(hertz: float, seconds: float = 1.0, level: float = 1.0) -> torch.Tensor:
    time = torch.arange(round(seconds * RATE)) / RATE
    return level * torch.sin(2 * math.pi * hertz * time)[None]


@pytest.mark.parametrize("hertz", [300.0, 1_000.0, 6_150.0, 15_000.0])
def test_a_tone_lies_at_its_height(hertz: float) -> None:
    level = picture.level_db(tone(hertz))
    loudest = int(level.mean(1).argmax())
    assert 1 - (loudest + 0.5) / picture.HEIGHT == pytest.approx(picture.height_of(hertz), abs=1.5 / picture.HEIGHT)


def test_heights_run_from_bottom_to_top_in_equal_steps_of_mel() -> None:
    assert picture.height_of(0) == 0 and picture.height_of(picture.TOP_HZ) == 1
    mel = [2595 * math.log10(1 + hertz / 700) for hertz in picture.TICKS_HZ]
    heights = [picture.height_of(hertz) for hertz in picture.TICKS_HZ]
    np.testing.assert_allclose(np.diff(heights) / np.diff(mel), 1 / (2595 * math.log10(1 + picture.TOP_HZ / 700)))


def test_a_tone_lies_at_its_time() -> None:
    audio = torch.cat([torch.zeros(1, RATE), tone(2_000, 1.0), torch.zeros(1, 2 * RATE)], dim=1)
    loud = picture.level_db(audio).amax(0) > 0
    columns = loud.nonzero()[:, 0] / loud.numel() * 4.0
    assert columns.min() == pytest.approx(1.0, abs=0.03) and columns.max() == pytest.approx(2.0, abs=0.03)


def test_opposite_channels_do_not_cancel() -> None:
    audio = tone(1_000)
    torch.testing.assert_close(picture.level_db(torch.cat([audio, -audio])), picture.level_db(audio))


def test_grey_levels_are_decibels() -> None:
    levels = torch.tensor([[-200.0, -80.0, -40.0, 0.0, 20.0]])
    assert picture.to_grey(levels, 0.0).tolist() == [[0, 0, 128, 252, 252]]
    assert picture.to_grey(levels, 40.0).tolist() == [[0, 0, 0, 128, 188]]


@pytest.mark.parametrize(("samples", "width"), [(1, 1), (1_440, 23), (8 * RATE, 721), (16 * RATE, 720)])
def test_pictures_have_a_bounded_width(samples: int, width: int) -> None:
    level = picture.level_db(torch.randn(2, samples, generator=torch.Generator().manual_seed(0)))
    assert level.shape == (picture.HEIGHT, min(width, picture.WIDTH))
    assert level.isfinite().all()


def test_the_png_holds_the_grey_levels() -> None:
    grey = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)[:, :7]
    read = matplotlib.image.imread(io.BytesIO(picture.to_png(grey)))
    np.testing.assert_array_equal(np.round(read * 255).astype(np.uint8), grey)


def test_outlines_hold_lowest_and_highest() -> None:
    audio = torch.zeros(2, 1_440)
    audio[0, 1], audio[1, 0], audio[0, 1_439] = 0.5, -0.25, 2.0
    found = np.frombuffer(picture.outline(audio), dtype=np.int8).reshape(-1, 2)
    assert found.shape == (720, 2)
    assert found[0].tolist() == [-32, 64] and found[-1].tolist() == [0, 127] and not found[1:-1].any()
    assert np.frombuffer(picture.outline(audio, 0.5), dtype=np.int8)[1] == 32
    assert len(picture.outline(torch.zeros(1, 5))) == 10


def test_the_bands_are_those_of_shimmer() -> None:
    wide, narrow = picture.shimmer_bands()
    assert (wide.low, wide.high) == (4_000, 8_000)
    assert (narrow.low, narrow.high) == (5_100, 7_200)
