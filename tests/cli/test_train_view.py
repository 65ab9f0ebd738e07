from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from heartopt.cli.figures import duration, figure, printable
from heartopt.cli.train_view import SIDE_BY_SIDE, TrainView
from heartopt.training.clips import ClipsRecord
from heartopt.training.data import SongReady
from heartopt.training.loop import StepRecord
from heartopt.training.validation import ValidationRecord

TERMS = {"bypass_stft": 2.25, "flow": 0.875, "commitment": 0.125, "l2": 1e-5}
WIDTHS = [20, 34, 50, SIDE_BY_SIDE - 1, SIDE_BY_SIDE, 80, 120, 250]


def step(number: int, *, skipped: bool = False, terms: dict[str, float] = TERMS) -> StepRecord:
    loss = math.nan if skipped else 1.5
    return StepRecord(number, 4000, number / 40, loss, terms, 9.8e-4, 0.4375, (400, 300), skipped, 0.5, 100.0)


def validation(number: int, flow: float, *, best: bool) -> ValidationRecord:
    return ValidationRecord(number, number / 40, flow, 0.0625, (100, 90), (55.0, 44.0), best)


def clips(number: int, stft: float | None, tier: str, *, best: bool) -> ClipsRecord:
    return ClipsRecord(number, number / 40, {} if stft is None else {"stft": stft}, tier, best, (), None)


def seconds() -> Callable[[], float]:
    """A clock that goes on by two seconds each time it is looked at."""
    return iter(range(0, 10**6, 2)).__next__


def shown(view: TrainView, width: int) -> str:
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, force_terminal=False).print(view.render())
    return text.getvalue()


def viewed(width: int, *events: object) -> str:
    """What a terminal of `width` columns shows after `events`."""
    view = TrainView(Console(file=io.StringIO(), width=width, force_terminal=True), clock=seconds())
    for event in events:
        view(event)
    return shown(view, width)


RUN = (
    validation(0, 2.5, best=True),
    *(step(number, skipped=number == 7) for number in range(1, 31)),
    clips(20, 1.75, "Good", best=True),
    clips(30, 2.25, "Fair", best=False),
    validation(30, 2.75, best=False),
)


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    song = SongReady(3, 40, "a folder/一首名字很长的歌 with a long name.flac" * 4, 200.0, True)
    for events in ((), (song,), RUN[:1], RUN):
        assert max(map(cell_len, viewed(width, *events).splitlines())) <= width


@pytest.mark.parametrize("width", [width for width in WIDTHS if width >= 50])
def test_all_figures_are_shown_at_any_usual_width(width: int) -> None:
    rows = [" ".join(line.split()) for line in viewed(width, *RUN).splitlines()]
    text = "\n".join(rows)
    assert "step 30 of 4000" in text and "epoch 0.75" in text
    for figures in ("loss 1.5000", "bypass_stft 2.2500", "l2 1.00e-05", "usage (codes a batch) 350",
                    "learning rate 9.80e-04", "gradient norm 0.4375", "audio trained 200.0 s/s", "skipped steps 1",
                    "flow loss 2.7500 2.5000", "commitment 0.0625", "usage 95", "perplexity 50",
                    "decoded STFT 2.250 1.750", "tier Fair Good", "flow after step 30 0",
                    "STFT after step 30 20"):  # fmt: skip
        assert figures in text
    assert any("bypass_stft" in row and "commitment" in row for row in rows) == (width >= SIDE_BY_SIDE)


def test_the_time_left_counts_what_comes_between_the_steps() -> None:
    assert "left" not in viewed(120, validation(0, 2.5, best=True))
    # Half a second of the first step, then two by the clock for each: (0.5 + 58) / 30 · 3970.
    assert "2:09:02 left" in viewed(120, *RUN)
    resumed = [step(number) for number in range(2001, 2012)]
    assert "1:01:47 left" in viewed(120, *resumed)  # (0.5 + 20) / 11 · 1989


def test_songs_are_shown_while_they_are_read() -> None:
    assert "reading songs" in viewed(80)
    text = viewed(80, SongReady(10, 40, "deep/song.flac", 200.0, True))
    assert "10 of 40" in text and "25 %" in text and "deep/song.flac" in text
    assert "song.flac" not in viewed(80, SongReady(40, 40, "deep/song.flac", 200.0, True), step(1))


def test_names_move_no_cursor_and_are_no_markup() -> None:
    text = viewed(80, SongReady(1, 2, "\x1b[2Jbad\nname\r[red]x[/nothing]\udcff", 1.0, True))
    assert "?[2Jbad?name?[red]x[/nothing]?" in text
    assert "[bold]term" in viewed(120, step(1, terms={"[bold]term": 1.0}))


def test_a_skipped_step_shows_no_figure_as_a_number() -> None:
    text = viewed(80, step(1), step(2, skipped=True))
    assert any(line.split()[:2] == ["loss", "–"] for line in text.splitlines())
    assert "nan" not in text


def test_without_a_terminal_there_is_one_plain_line_for_each_judgement() -> None:
    text = io.StringIO()
    with TrainView(Console(file=text, width=40), clock=seconds()) as view:
        view(SongReady(1, 2, "song.wav", 1.0, True))
        for event in RUN:
            view(event)
        view(clips(40, None, "unknown", best=False))
    assert text.getvalue().splitlines() == [
        "step 0: epoch 0.00, held-out flow 2.5000, the best so far, usage 95",
        "step 20 of 4000: epoch 0.50, decoded STFT 1.750 (Good), the best so far",
        "step 30 of 4000: epoch 0.75, decoded STFT 2.250 (Fair), best 1.750 after step 20",
        "step 30 of 4000: epoch 0.75, held-out flow 2.7500, best 2.5000 after step 0, usage 95, loss 1.5000, "
        "1 skipped, 2:09:02 left",
        "step 40 of 4000: epoch 1.00, decoded STFT – (unknown), best 1.750 after step 20",
    ]


def test_on_a_terminal_the_display_is_live_and_other_lines_stand_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(sys, "stderr", text)
    view = TrainView(Console(file=text, width=100, height=40, force_terminal=True), clock=seconds())
    with pytest.raises(KeyboardInterrupt), view:
        for event in RUN:
            view(event)
        print("warning: a line from elsewhere", file=sys.stderr)
        raise KeyboardInterrupt
    written = text.getvalue()
    assert "warning: a line from elsewhere\n" in written and "decoded STFT" in written
    assert "held-out flow" not in written  # the plain lines
    assert sys.stderr is text
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor is back


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    text = io.StringIO()
    with TrainView(Console(file=text, width=80, force_terminal=True), clock=seconds()) as view:
        view(RUN[0])
    assert text.getvalue() == "step 0: epoch 0.00, held-out flow 2.5000, the best so far, usage 95\n"


@pytest.mark.parametrize("event", [None, "song", {"kind": "news"}, {}])
def test_unknown_events_are_passed_over(event: Any) -> None:
    assert viewed(80, event) == viewed(80)


def test_numbers_take_few_columns() -> None:
    found = [figure(value) for value in (0.0, 1.23456, 1e-3, 9.99e-4, 99999.0, 1e5, -2.5, math.nan)]
    assert found == ["0.0000", "1.2346", "0.0010", "9.99e-04", "99999.0000", "1.00e+05", "-2.5000", "–"]
    assert [duration(value) for value in (-1, 59.6, 3600, 90061)] == ["0:00:00", "0:01:00", "1:00:00", "1 d 1:01:01"]
    assert printable("ü–字 \t") == "ü–字 ?"
