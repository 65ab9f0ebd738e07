"""What `heartopt train` shows while it runs: a live table on a terminal, else a line for each validation."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from heartopt.cli.figures import NONE, bar, count, duration, figure, figures_table, printable
from heartopt.training.records import entries, mean, number

REFRESHES_A_SECOND = 4
#: Columns from which on the two tables stand side by side, and beyond which they do not spread.
SIDE_BY_SIDE, WIDEST = 72, 108
#: Steps that the speed is measured over.
SPEED_STEPS = 50


class TrainView:
    """Call it with a run's events: songs as they are read, then records of steps, validations and decoded clips.

    A context manager. On a terminal it shows all figures in place and leaves nothing behind; elsewhere it prints one
    line for each validation and each time clips are decoded. `clock` gives seconds. The display is drawn by a thread of
    its own, so events replace what is shown and change none of it.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.clock = clock
        self.song: Mapping[str, Any] = {}
        self.step: Mapping[str, Any] = {}
        self.validation: Mapping[str, Any] = {}
        self.clips: Mapping[str, Any] = {}
        self.best_flow: tuple[float, int] | None = None
        self.best_stft: tuple[float, int] | None = None
        self.skipped = 0
        self.speed = math.nan
        self._first: tuple[float, int] | None = None
        self._latest = 0.0
        self._speeds = deque[tuple[float, float]](maxlen=SPEED_STEPS)
        self._interactive = console.is_interactive  # a terminal whose cursor can be moved
        self._live = Live(
            console=console, get_renderable=self.render, refresh_per_second=REFRESHES_A_SECOND, transient=True
        )

    def __enter__(self) -> TrainView:
        if self._interactive:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._interactive:
            self._live.stop()

    def __call__(self, event: object) -> None:
        """Take up an event; unknown ones are passed over."""
        found = entries(event)
        match found.get("kind", "song"):
            case "step":
                self._take_step(found)
            case "validation":
                self.validation = found
                if found.get("best"):
                    self.best_flow = (number(found.get("flow")), found["step"])
                self._print(self._validation_line())
            case "clips":
                self.clips = found
                if found.get("best"):
                    self.best_stft = (_stft(found), found["step"])
                self._print(self._clips_line())
            case "song" if "done" in found:
                self.song = found

    def _take_step(self, step: Mapping[str, Any]) -> None:
        now, seconds = self.clock(), number(step.get("seconds"))
        if self._first is None:
            self._first = (now - (0.0 if math.isnan(seconds) else seconds), step["step"] - 1)
        self._latest = now
        self.skipped += bool(step.get("skipped"))
        self._speeds.append((number(step.get("audio_seconds")), seconds))
        taken = sum(seconds for _, seconds in self._speeds)
        self.speed = sum(audio for audio, _ in self._speeds) / taken if taken > 0 else math.nan
        self.step = step

    def render(self) -> RenderableType:
        """The display as it is now."""
        width = min(self.console.width, WIDEST)
        if not self.step and not self.validation:
            return self._songs(width)
        parts: tuple[RenderableType, ...] = (self._training_table(), "", self._judged_table())
        if width >= SIDE_BY_SIDE:
            both = Table.grid(padding=(0, 4), expand=False)
            both.add_row(parts[0], parts[2])
            parts = (both,)
        rule = Rule(style="dim")
        return Padding(Group(self._progress(width), rule, *parts), (0, self.console.width - width, 0, 0))

    def _songs(self, width: int) -> RenderableType:
        done, total = number(self.song.get("done", 0)), number(self.song.get("total"))
        words = "" if math.isnan(total) else f"{done:.0f} of {total:.0f}"
        grid = bar("reading songs", total, done, words, width)
        name = Text(printable(str(self.song.get("name", ""))), "dim", no_wrap=True, overflow="ellipsis")
        return Group(grid, name)

    def _progress(self, width: int) -> RenderableType:
        step, steps = self.step.get("step", 0), number(self.step.get("steps"))
        words = "starting"
        if self.step:
            epoch = f"epoch {number(self.step.get('epoch')):.2f}"
            words = "  ".join([f"step {step} of {steps:.0f}", epoch, *self._left()])
        return bar("training", steps, step, words, width)

    def _left(self) -> Iterator[str]:
        """The time left, where it can be told."""
        if self._first is not None and self.step["step"] > self._first[1]:
            began, before = self._first
            each = (self._latest - began) / (self.step["step"] - before)  # validations and checkpoints included
            left = each * (number(self.step.get("steps")) - self.step["step"])
            if math.isfinite(left):
                yield f"{duration(left)} left"

    def _training_table(self) -> Table:
        table = figures_table("training", "")
        step, terms = self.step, self.step.get("terms")
        table.add_row("loss", figure(number(step.get("loss"))))
        for name, value in (terms if isinstance(terms, Mapping) else {}).items():
            table.add_row(Text(f"  {printable(str(name))}"), figure(number(value)))
        table.add_row("usage (codes a batch)", count(mean(step.get("usage"))))
        table.add_row("learning rate", figure(number(step.get("learning_rate")), "{:.2e}"))
        table.add_row("gradient norm", figure(number(step.get("gradient_norm"))))
        table.add_row("audio trained", figure(self.speed, "{:.1f} s/s"))
        table.add_row("skipped steps", Text(str(self.skipped), "bold red" if self.skipped else ""))
        return table

    def _judged_table(self) -> Table:
        table = figures_table("held out", "last", "best")
        judged, clips = self.validation, self.clips
        table.add_row("flow loss", figure(number(judged.get("flow"))), _best(self.best_flow))
        table.add_row("commitment", figure(number(judged.get("commitment"))), "")
        table.add_row("usage", count(mean(judged.get("usage"))), "")
        table.add_row("perplexity", count(mean(judged.get("perplexity"))), "")
        table.add_row("decoded STFT", figure(_stft(clips), "{:.3f}"), _best(self.best_stft, "{:.3f}"))
        best_tier = NONE if self.best_stft is None else _tier(self.best_stft[0])
        table.add_row("tier", str(clips.get("tier", NONE)), best_tier)
        for name, record, best in (("flow", judged, self.best_flow), ("STFT", clips, self.best_stft)):
            table.add_row(f"{name} after step", str(record.get("step", NONE)), NONE if best is None else str(best[1]))
        return table

    def _print(self, line: str) -> None:
        if not self._interactive:
            self.console.print(Text(line), soft_wrap=True)

    def _validation_line(self) -> str:
        record = self.validation
        flow = figure(number(record.get("flow")))
        parts = [self._where(record), f"held-out flow {flow}{_note(record, self.best_flow)}"]
        parts.append(f"usage {count(mean(record.get('usage')))}")
        if self.step:
            parts.append(f"loss {figure(number(self.step.get('loss')))}")
            parts.extend([f"{self.skipped} skipped"] if self.skipped else [])
            parts.extend(self._left())
        return ", ".join(parts)

    def _clips_line(self) -> str:
        stft = figure(_stft(self.clips), "{:.3f}")
        decoded = f"decoded STFT {stft} ({self.clips.get('tier', NONE)})"
        return f"{self._where(self.clips)}, {decoded}{_note(self.clips, self.best_stft, '{:.3f}')}"

    def _where(self, record: Mapping[str, Any]) -> str:
        of = f" of {number(self.step.get('steps')):.0f}" if self.step else ""
        return f"step {record.get('step')}{of}: epoch {number(record.get('epoch')):.2f}"


def _stft(clips: Mapping[str, Any]) -> float:
    metrics = clips.get("metrics")
    return number(metrics.get("stft")) if isinstance(metrics, Mapping) else math.nan


def _tier(stft: float) -> str:
    from heartopt.metrics import tier

    return tier(stft)


def _best(best: tuple[float, int] | None, form: str = "") -> Text:
    return Text(NONE) if best is None else Text(figure(best[0], form), "green")


def _note(record: Mapping[str, Any], best: tuple[float, int] | None, form: str = "") -> str:
    """How a figure compares with the best one before it."""
    if record.get("best"):
        return ", the best so far"
    return "" if best is None else f", best {figure(best[0], form)} after step {best[1]}"
