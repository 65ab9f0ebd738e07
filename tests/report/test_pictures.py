from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from heartopt.evaluation import Evaluation
from heartopt.evaluation.results import summarize
from heartopt.report import pictures
from heartopt.report.pictures import applicable, codes_figure, draw_report, rate_figure, tier_figure, time_figure

RATES = {"projection": 1.3, "optimized": 1.3, "silence": float("nan")}


@pytest.fixture
def rated(evaluation: Evaluation) -> Evaluation:
    rows = tuple({**row, "kbps": RATES[row["system"]]} for row in evaluation.rows)
    own = [row for row in rows if row["system"] == "projection"]
    rows += tuple({**row, "system": "mp3:32", "kbps": 32.0, "stft": 1.2} for row in own)
    return replace(evaluation, rows=rows, summary=summarize(rows, seed=0))


def test_a_picture_needs_rows_that_are_enough_for_it(evaluation: Evaluation, rated: Evaluation) -> None:
    assert list(applicable(rated, "own")) == [f"own.{name}.png" for name in ("tiers", "rate", "time", "codes")]
    assert "own.rate.png" not in applicable(evaluation, "own")
    assert applicable(Evaluation("none", (), (), (), (), {}), "own") == {}


def test_they_are_whole_png_files(rated: Evaluation, tmp_path: Path) -> None:
    drawn = draw_report(rated, tmp_path, "own")
    assert [path.name for path in drawn] == list(applicable(rated, "own"))
    assert sorted(drawn) == sorted(tmp_path.iterdir())
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in drawn)


def test_tiers_show_systems_from_the_best_on_then_controls(rated: Evaluation) -> None:
    figure = tier_figure(rated)
    (axis,) = figure.axes
    names = [text.get_text() for text in axis.get_yticklabels()]
    assert names == ["mp3:32", "optimized", "projection", "control: silence"]
    words = {text.get_text() for text in axis.texts}
    assert {"Excellent", "Good", "Fair", "Poor", "1.20", "1.70", "6.00"} <= words
    assert axis.get_xlim()[1] > 6.5


@pytest.mark.parametrize(("make", "label"), [(rate_figure, "kbit/s"), (time_figure, "seconds for a second")])
def test_quality_against_bits_and_time_leaves_controls_out(make, label: str, rated: Evaluation) -> None:
    (axis,) = make(rated).axes
    assert axis.get_xscale() == "log" and axis.get_xlabel().startswith(label)
    assert {text.get_text() for text in axis.get_legend().get_texts()} == {"projection", "optimized", "mp3:32"}


def test_codes_have_a_line_a_system(evaluation: Evaluation) -> None:
    usage, perplexity = codes_figure(evaluation).axes
    assert [list(line.get_ydata()) for line in usage.lines] == [[0.5], [0.75]]
    assert [list(line.get_ydata()) for line in perplexity.lines] == [[20.0], [20.0]]


def test_without_matplotlib_it_is_said(evaluation: Evaluation, tmp_path: Path, monkeypatch) -> None:
    from heartopt.errors import HeartoptError

    def missing(what: str) -> None:
        raise HeartoptError(f"drawing {what} needs matplotlib")

    monkeypatch.setattr(pictures, "need_matplotlib", missing)
    with pytest.raises(HeartoptError, match="needs matplotlib"):
        draw_report(evaluation, tmp_path, "own")
    assert list(tmp_path.iterdir()) == []
