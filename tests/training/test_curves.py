from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heartopt.errors import HeartoptError, OutputError
from heartopt.metrics import TIERS, tier
from heartopt.training.curves import TIER_BORDERS, draw_curves, make_figure
from heartopt.training.history import History
from heartopt.training.panels import EXPECTED, EXPECTED_EPOCHS, expected_at, moving_average

pytest.importorskip("matplotlib")
STFT = 2


def records(epochs: float, *, clips: bool = True, term: str = "flow") -> list[dict[str, Any]]:
    """A run with a step every hundredth of its length."""
    found: list[dict[str, Any]] = []
    for k in range(101):
        at = {"step": k, "epoch": epochs * k / 100}
        terms = {term: 1 / (k + 1), "commitment": 0.2, "l2": 0.0}
        found.append({"kind": "step", "steps": 100, "loss": 2.0, "terms": terms, "learning_rate": 1e-3, **at})
        found[-1] |= {"gradient_norm": None if k == 50 else 0.5, "usage": [40, 60], "skipped": k == 50}
        found.append({"kind": "validation", "flow": 2 - k / 100, "commitment": 0.3, **at})
        if clips:
            found.append({"kind": "clips", "metrics": {"stft": 1.7, "stft_log1p": 0.6}, **at})
    return found


def history(epochs: float, **changed: Any) -> History:
    made = History()
    for record in records(epochs, **changed):
        made.add(record)
    return made


def texts(figure: Any) -> str:
    """All that is written in a figure."""
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_a_png_appears_without_pyplot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.image import imread

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    lines = [json.dumps(record) for record in records(20.0)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(["", *lines, '{"kind": "st']))
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    image = imread(tmp_path / "curves.png")
    assert image.shape[:2] == (1210, 1430)
    assert image[..., :3].std() > 0.05
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "curves.png"}


def test_every_panel_is_there_and_bands_are_named_as_what_they_are() -> None:
    figure = make_figure(history(20.0))
    shown = texts(figure)
    for title in ("loss and its unweighted terms", "held-out flow loss", "STFT of decoded clips", "commitment:",
                  "codebook usage: codes per batch, mean over levels", "learning rate", "gradient norm"):  # fmt: skip
        assert title in shown
    assert "not a judgement" in shown and "log1p" in shown and "codes of one batch" in shown
    assert shown.count("expected by the training report") == 3
    assert all(tier.name in shown for tier in TIERS)
    assert "best: 1.0000 at epoch 20" in shown and "skipped steps: 1" in shown
    assert "no values yet" not in shown


@pytest.mark.parametrize(("epochs", "bands"), [(0.5, 0), (1.0, 0), (2.0, 3), (300.0, 3)])
def test_bands_go_as_far_as_the_run_and_the_report(epochs: float, bands: int) -> None:
    figure = make_figure(history(epochs))
    collections = [band for axis in figure.axes for band in axis.collections]
    assert len(collections) == bands
    for band in collections:
        at = band.get_paths()[0].vertices[:, 0]  # type: ignore[index]
        assert at.min() == 1.0 and at.max() == pytest.approx(min(epochs, 100.0))


@pytest.mark.parametrize("lines", [[], records(5.0, clips=False), records(1e-9)[:3]])
def test_a_run_that_has_just_begun_or_decodes_no_clips_can_be_drawn(tmp_path: Path, lines: list[Any]) -> None:
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_names_from_the_file_are_not_read_as_mathematics(tmp_path: Path) -> None:
    lines = records(5.0, term=r"$\broken{")
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert r"$\broken{" in texts(make_figure(history(5.0, term=r"$\broken{")))


def test_legends_hide_no_curve() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = make_figure(history(20.0))
    FigureCanvasAgg(figure).draw()
    for axis in figure.axes:
        if (legend := axis.get_legend()) is None:
            continue
        bottom = legend.get_window_extent().y0
        for drawn in (*axis.get_lines(), *axis.collections):
            assert drawn.get_window_extent().y1 <= bottom + 3


def test_tier_borders_are_those_of_the_tiers() -> None:
    for border, below, above in zip(TIER_BORDERS, TIERS[:-1], TIERS[1:], strict=True):
        assert tier(border - 1e-9) == below.name and tier(border + 1e-9) == above.name


@pytest.mark.parametrize("name", EXPECTED)
def test_bands_pass_through_the_reports_table(name: str) -> None:
    low, high = expected_at(name, np.asarray(EXPECTED_EPOCHS))
    assert np.allclose(np.column_stack([low, high]), EXPECTED[name], rtol=1e-12)
    middle = expected_at(name, np.asarray([5.5]))[0][0]
    assert middle == pytest.approx(math.sqrt(EXPECTED[name][0][0] * EXPECTED[name][1][0]))


def test_the_moving_average_keeps_constants_lines_and_gaps() -> None:
    line = np.arange(500.0)
    line[7] = np.nan
    smooth = moving_average(line)
    assert np.allclose(smooth[20:-20], line[20:-20]) and np.isnan(smooth[7])
    constant = np.where(np.isnan(line), np.nan, 3.0)
    assert np.allclose(np.nan_to_num(moving_average(constant), nan=3.0), 3.0)


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(HeartoptError, match=r"heartopt\[report\]"):
        draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / "curves.png").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert len(list(tmp_path.iterdir())) == 2
