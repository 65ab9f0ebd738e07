"""Charts show what the rows say, and no text hides another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from heartopt.evaluation import Evaluation
from heartopt.evaluation.results import summarize
from heartopt.report.charts import _dodged, codes_figure, qualities, rate_figure, tier_figure, time_figure

pytest.importorskip("matplotlib")
Make = Callable[[Evaluation], Any]


@pytest.fixture
def many(evaluation: Evaluation) -> Evaluation:
    """Many systems with long and hostile names, one of which is like a control, at the same bitrate and speed."""
    base = [row for row in evaluation.rows if row["system"] == "projection"]
    rows = [{**row, "mel": 0.1 * row["stft"]} for row in evaluation.rows]
    names = [f"projection:/a/{'very-' * 10}long/path/{number}.safetensors" for number in range(8)]
    names += ["_$_{$", "<b>\udcff", "千本桜"]
    for number, name in enumerate(names):
        rows += [{**row, "system": name, "stft": row["stft"] + 0.4 * number, "kbps": 1.3, "mel": 0.3} for row in base]
    for rate in (16, 32, 64, 128):
        rows += [{**row, "system": f"mp3:{rate}", "stft": 48 / rate, "kbps": float(rate), "mel": 0.2} for row in base]
    return replace(evaluation, rows=tuple(rows), summary=summarize(rows, seed=0))


def drawn(figure: Any) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def test_tiers_show_systems_from_the_best_on_then_controls(rated: Evaluation) -> None:
    figure = tier_figure(rated)
    (axis,) = figure.axes
    names = [text.get_text() for text in axis.get_yticklabels()]
    assert names == ["mp3:32", "optimized", "projection", "control: silence"]
    words = {text.get_text() for text in axis.texts}
    assert {"Excellent", "Good", "Fair", "Poor", "1.30", "1.70", "6.00"} <= words
    assert axis.get_xlim()[1] > 6.5
    spans = sorted(patch.get_x() for patch in axis.patches)
    assert spans == [0.0, 1.0, 2.0, 3.0]


def test_what_a_control_reaches_says_so_in_words(evaluation: Evaluation) -> None:
    rows = tuple({**row, "stft": 6.0} if row["system"] == "optimized" else row for row in evaluation.rows)
    (axis,) = tier_figure(replace(evaluation, rows=rows, summary=summarize(rows, seed=0))).axes
    assert "6.00, in doubt" in {text.get_text() for text in axis.texts}
    (line,) = [line for line in axis.lines if str(line.get_label()).startswith("here the controls")]
    assert line.get_xdata()[0] == 5.5


@pytest.mark.parametrize(("make", "words"), [(rate_figure, "kbit/s"), (time_figure, "seconds to make")])
def test_quality_against_bits_and_time_leaves_controls_out(make: Make, words: str, rated: Evaluation) -> None:
    figure = make(rated)
    (axis,) = figure.axes
    assert axis.get_xscale() == "log" and axis.get_xlabel().startswith(words)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["projection", "optimized", "mp3"]
    assert "dashed: the best control, silence, 6.00" in axis.get_title(loc="left")


def test_the_bitrates_of_a_codec_are_joined(many: Evaluation) -> None:
    axis = rate_figure(many).axes[0]
    (line,) = [found for found in axis.containers if found.get_label() == "mp3"]
    np.testing.assert_allclose(line.lines[0].get_xdata(orig=False), [16, 32, 64, 128])
    np.testing.assert_allclose(line.lines[0].get_ydata(orig=False), [3, 1.5, 0.75, 0.375])
    assert line.lines[0].get_linestyle() == "-"


def test_another_name_of_a_codec_is_known_from_the_settings(many: Evaluation) -> None:
    specs = [{"name": "<b>\udcff", "system": "mp3:8"}]
    axis = rate_figure(replace(many, settings={**many.settings, "specs": specs})).axes[0]
    (line,) = [found for found in axis.containers if found.get_label() == "mp3"]
    assert len(line.lines[0].get_xdata(orig=False)) == 5


def test_the_second_panel_is_visqol_where_it_was_measured(evaluation: Evaluation, many: Evaluation) -> None:
    assert qualities(evaluation) == ("stft",) and qualities(many) == ("stft", "mel")
    rows = tuple({**row, "visqol": 3.0} for row in many.rows)
    assert qualities(replace(many, rows=rows, summary=summarize(rows, seed=0))) == ("stft", "visqol")


def test_codes_have_a_line_a_system(evaluation: Evaluation) -> None:
    usage, perplexity = codes_figure(evaluation).axes
    assert [list(line.get_ydata()) for line in usage.lines] == [[0.5], [0.75]]
    assert [list(line.get_ydata()) for line in perplexity.lines] == [[20.0], [20.0]]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("make", [tier_figure, rate_figure, time_figure, codes_figure])
def test_no_text_leaves_the_picture_or_hides_another(make: Make, many: Evaluation) -> None:
    from matplotlib.text import Text

    canvas = drawn(figure := make(many))
    width, height = canvas.get_width_height()
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    ticks = {label for axis in figure.axes for label in (*axis.get_xticklabels(which="both"), *axis.get_yticklabels())}
    if make is tier_figure:
        ticks -= set(figure.axes[0].get_yticklabels())
    boxes = [text.get_window_extent() for text in shown if text not in ticks]
    assert make is codes_figure or any(text.get_text().strip() == "_$_{$" for text in shown)
    for number, box in enumerate(boxes):
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert not any(box.shrunk(0.98, 0.9).overlaps(other.shrunk(0.98, 0.9)) for other in boxes[number + 1 :])


def test_points_that_coincide_stand_side_by_side_around_their_place() -> None:
    found = _dodged([1.3, 64.0, 1.3, 1.31])
    assert found[1] == pytest.approx(64.0)
    near = sorted(found[:1] + found[2:])
    assert all(right / left > 1.05 for left, right in pairwise(near))
    assert math.prod(near) ** (1 / 3) == pytest.approx((1.3 * 1.3 * 1.31) ** (1 / 3))
    assert _dodged([]) == [] and _dodged([5.0]) == pytest.approx([5.0])
