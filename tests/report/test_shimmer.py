"""The picture of shimmer: its axes are those of the song, and what is coloured is what was attenuated."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from heartopt.deshimmer import find_shimmer
from heartopt.report.shimmer import MARKED_DB, draw_shimmer, make_figure
from heartopt.shimmer import DeshimmerParams, Shimmer

EAGER = DeshimmerParams(slope=1.0, density=(0.05, 0.5), flatness=(0.0, 0.2))


def shimmer() -> Shimmer:
    time = torch.arange(48_000) / 48_000
    noise = 0.02 * torch.randn(1, 48_000, generator=torch.Generator().manual_seed(0))
    return find_shimmer(noise + 0.006 * torch.sin(2 * math.pi * 6_117 * time), 48_000, EAGER)


def test_what_is_coloured_is_what_was_attenuated() -> None:
    found = shimmer()
    figure = make_figure(found, title="song.wav", start=30.0)
    top, bottom = figure.axes[:2]
    assert 29.9 < bottom.get_xlim()[0] < 30.1 < 30.9 < bottom.get_xlim()[1] < 31.1
    assert 5.1 <= top.get_ylim()[0] < top.get_ylim()[1] <= 7.2
    coloured = np.ma.filled(np.ma.masked_invalid(bottom.images[1].get_array()), 0.0)
    wanted = np.where(found.attenuation_db.T >= MARKED_DB, found.attenuation_db.T, 0.0)
    np.testing.assert_allclose(coloured, wanted, rtol=1e-5)
    row = int(coloured.sum(1).argmax())
    assert abs(float(found.hertz[row]) - 6_117) < 48_000 / 2_048
    assert "% of cells" in bottom.get_title(loc="left")


def test_silence_can_be_drawn(tmp_path: Path) -> None:
    draw_shimmer(find_shimmer(torch.zeros(1, 9_000), 48_000), tmp_path / "silence.png", title="silence")
    assert (tmp_path / "silence.png").read_bytes().startswith(b"\x89PNG")
