"""The picture of one song's refinement: it shows what was given, and copes with songs and runs of any length."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from heartopt.audio import SAMPLE_RATE
from heartopt.errors import HeartoptError, OutputError
from heartopt.report.optimize import (
    CODE_COLUMNS,
    MOST_CODES,
    WindowCurve,
    draw_optimization,
    make_figure,
    phase_values,
    shares,
)

pytest.importorskip("matplotlib")
LEVELS = 8


def tone(seconds: float, hertz: float = 6_000.0, amplitude: float = 1.0) -> Tensor:
    time = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (amplitude * torch.sin(2 * math.pi * hertz * time)).expand(2, -1)


def curve(flow: int, ode: int = 0, height: float = 1.0) -> WindowCurve:
    losses = tuple(height / (1 + step) for step in range(flow + ode))
    return WindowCurve(("flow",) * flow + ("ode",) * ode, losses)


def song(seconds: float = 1.0, losses: tuple[WindowCurve, ...] = (curve(20, 10),), **changed: Any) -> dict[str, Any]:
    """What the picture of a song takes; every second frame of level 1 and nothing else has changed."""
    start = torch.zeros(LEVELS, math.ceil(seconds * 12.5), dtype=torch.int64)
    tokens = start.clone()
    tokens[0, ::2] = 3
    sounds = {"original": tone(seconds), "start": tone(seconds, 3_000, 0.1), "result": tone(seconds, 6_000, 0.5)}
    return {
        "title": "song.wav",
        "sounds": sounds,
        "losses": losses,
        "start_tokens": start,
        "tokens": tokens,
        **changed,
    }


def texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def panel(figure: Any, title: str) -> Any:
    (found,) = [axis for axis in figure.axes if axis.get_title(loc="left").startswith(title)]
    return found


def test_a_png_appears_without_pyplot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.image import imread

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    draw_optimization(tmp_path / "made" / "song.png", **song())
    assert (tmp_path / "made" / "song.png").read_bytes().startswith(b"\x89PNG")
    image = imread(tmp_path / "made" / "song.png")
    assert image.shape[1] == 1560 and image[..., :3].std() > 0.1
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["song.png"]


@pytest.mark.parametrize(
    ("seconds", "losses"),
    [
        (0.05, (curve(3),)),
        (1.0, ()),
        (1.0, (WindowCurve((), ()),)),
        (1.0, (WindowCurve((), ()), curve(1), curve(0, 1))),
        (1.0, (WindowCurve(("flow", "flow"), (math.nan, math.inf)),)),
        (1.0, tuple(curve(200, 30, height) for height in (1, 2, 3, 4, 5))),
        (0.08 * (MOST_CODES + 1), tuple(curve(5, 0, height) for height in range(6))),
    ],
    ids=["short song", "no window", "no steps", "one step", "not finite", "five windows", "long song"],
)
def test_songs_and_runs_of_any_length(seconds: float, losses: tuple[WindowCurve, ...], tmp_path: Path) -> None:
    draw_optimization(tmp_path / "song.png", **song(seconds, losses))
    assert (tmp_path / "song.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("seconds", [0.05, 0.08 * (MOST_CODES + 1)])
def test_no_text_leaves_the_picture_or_hides_another(seconds: float) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    figure = make_figure(**song(seconds, tuple(curve(200, 30, height) for height in range(1, 7)), title="long " * 60))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    ticks = {label for axis in figure.axes for label in (*axis.get_xticklabels(), *axis.get_yticklabels())}
    boxes = [text.get_window_extent() for text in drawn if text not in ticks]
    width, height = canvas.get_width_height()
    assert len(boxes) > 20
    for number, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_spectrograms_share_their_scales_and_mark_the_band() -> None:
    figure = make_figure(**song())
    top, middle, bottom = (panel(figure, name) for name in ("original", "start", "result"))
    assert top.images[0].get_clim() == middle.images[0].get_clim() == bottom.images[0].get_clim()
    assert top.get_xlim() == bottom.get_xlim() == panel(figure, "codes changed").get_xlim() == (0.0, 1.0)
    for axis in (top, middle, bottom):
        assert [line.get_ydata()[0] for line in axis.lines] == [4.0, 8.0]
        assert "shimmer band, 4–8 kHz" in texts(axis)
        image = axis.images[0]
        assert (axis.get_ylim(), image.origin) == ((0.0, 12.0), "lower")
        low, high = image.get_extent()[2:]
        row = int(image.get_array().mean(1).argmax())
        kilohertz = low + (high - low) * (row + 0.5) / image.get_array().shape[0]
        assert kilohertz == pytest.approx(3.0 if axis is middle else 6.0)


def test_codes_that_changed_are_coloured_and_counted() -> None:
    given = song()
    figure = make_figure(**given)
    axis = panel(figure, "codes changed: 6.7 %")  # 7 of 13 frames in one of eight levels
    np.testing.assert_array_equal(axis.images[0].get_array(), given["start_tokens"] != given["tokens"])
    assert axis.images[0].get_extent() == [0.0, pytest.approx(13 / 12.5), 8.5, 0.5]
    written = {round(text.get_position()[1]): text.get_text() for text in axis.texts}
    assert written == {1: "53.8 %", **{level: "0.0 %" for level in range(2, 9)}}
    assert axis.yaxis_inverted() and set(range(1, 9)) <= set(axis.get_yticks())
    assert {"changed", "kept"} <= set(texts(axis))


def test_a_long_song_shows_shares_in_their_place() -> None:
    frames = 7 * CODE_COLUMNS + 3
    changed = np.zeros((LEVELS, frames), dtype=bool)
    changed[2, :4] = changed[3, -1] = True
    found = shares(changed)
    assert found.shape == changed.shape
    np.testing.assert_allclose(found[2, :8], 0.5)
    assert not found[2, 8:].any() and not found[3, :-8].any()
    np.testing.assert_allclose(found.sum(1), changed.sum(1))
    assert len(np.unique(shares(np.arange(frames)[None] % 2 == 0))) <= 2
    figure = make_figure(**song(0.08 * (MOST_CODES + 1)))
    assert "share changed" in texts(figure) and "kept" not in texts(figure)


def test_phases_have_panels_of_their_own() -> None:
    figure = make_figure(**song(losses=(curve(20, 10), curve(15))))
    flow, ode = panel(figure, "flow-matching loss"), panel(figure, "loss of the decoded sound")
    assert flow.get_xlim() == (1, 20) and ode.get_xlim() == (21, 30)
    assert flow.get_xlabel() == "step of the window" and flow.get_ylabel() == "loss"
    np.testing.assert_allclose(flow.lines[0].get_ydata(), [1 / (1 + step) for step in range(20)])
    np.testing.assert_allclose(flow.lines[1].get_ydata(), [1 / (1 + step) for step in range(15)] + [math.nan] * 5)
    assert {"window 1", "window 2"} <= set(texts(flow))
    assert "window 2" not in texts(ode)  # it took no such step
    assert "median" not in texts(figure)


def test_of_many_windows_the_median_is_bold() -> None:
    figure = make_figure(**song(losses=tuple(curve(20, 0, height) for height in (1, 2, 3, 40, 50))))
    axis = panel(figure, "flow-matching loss")
    assert len(axis.lines) == 6
    middle = axis.lines[-1]
    assert middle.get_label() == "median"
    assert middle.get_linewidth() > 2 * max(line.get_linewidth() for line in axis.lines[:-1])
    np.testing.assert_allclose(middle.get_ydata(), [3 / (1 + step) for step in range(20)])
    assert len({line.get_color() for line in axis.lines}) == 6
    assert "window" in texts(figure)


def test_many_steps_are_smoothed_and_say_so() -> None:
    figure = make_figure(**song(losses=(curve(200),)))
    assert "single steps (faint)" in texts(panel(figure, "flow-matching loss"))
    assert "single steps (faint)" not in texts(make_figure(**song()))


def test_what_is_missing_is_said() -> None:
    assert "no steps were taken" in texts(make_figure(**song(losses=())))
    lost = WindowCurve(("flow", "flow", "ode"), (math.nan, 0.5, math.inf))
    figure = make_figure(**song(losses=(lost,)))
    assert panel(figure, "flow-matching loss").get_title(loc="left").endswith("(1 of 2 steps not finite)")
    assert "no finite loss" in texts(panel(figure, "loss of the decoded sound"))


def test_values_of_a_phase_keep_their_steps() -> None:
    mixed = WindowCurve(("flow", "ode", "flow"), (1.0, 2.0, 3.0))
    steps, values = phase_values("ode", [mixed, curve(1), WindowCurve((), ())])
    assert steps.tolist() == [2]
    np.testing.assert_array_equal(values, [[2.0], [math.nan], [math.nan]])
    steps, values = phase_values("flow", [mixed, curve(1)])
    assert steps.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(values, [[1.0, math.nan, 3.0], [1.0, math.nan, math.nan]])


@pytest.mark.filterwarnings("error")
def test_any_name_of_a_file_can_be_drawn(tmp_path: Path) -> None:
    sounds = {"千本桜": tone(0.1), "$_{$": tone(0.1)}
    for number, title in enumerate(("千本桜.flac", "a$_{$.wav", "a\udcff.wav", "long-" * 60)):
        draw_optimization(tmp_path / f"{number}.png", **song(0.1, title=title, sounds=sounds))
    assert len(list(tmp_path.iterdir())) == 4


def test_tokens_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[8, 13\] became \[8, 1\]"):
        make_figure(**song(tokens=torch.zeros(8, 1, dtype=torch.int64)))


def test_a_missing_plotting_library_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    hidden = "heartopt.report.figures.find_spec"
    monkeypatch.setattr(hidden, lambda name: None if name == "matplotlib" else find(name))
    with pytest.raises(HeartoptError, match=r"an optimization needs matplotlib: pip install 'heartopt\[report\]'"):
        draw_optimization(tmp_path / "song.png", **song())
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        draw_optimization(tmp_path / "folder" / "song.png", **song())
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_nothing_half_written_replaces_an_older_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    def break_off(_: Figure, path: Path, **__: Any) -> None:
        path.write_bytes(b"\x89PNG")
        raise OSError(28, "No space left on device")

    (tmp_path / "song.png").write_bytes(b"older")
    monkeypatch.setattr(Figure, "savefig", break_off)
    with pytest.raises(OutputError, match="No space left"):
        draw_optimization(tmp_path / "song.png", **song())
    assert [path.name for path in tmp_path.iterdir()] == ["song.png"]
    assert (tmp_path / "song.png").read_bytes() == b"older"


def test_codes_are_shown_of_the_whole_song_where_the_sounds_are_its_beginning() -> None:
    start = torch.zeros(4, 250, dtype=torch.int64)  # 20 s
    figure = make_figure(**{**song(3.0), "start_tokens": start, "tokens": start + 1})
    limits = [axis.get_xlim() for axis in figure.axes[:5]]
    assert limits[:4] == [(0.0, 3.0)] * 4
    assert limits[4] == (0.0, 20.0)
