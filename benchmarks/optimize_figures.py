"""The figures of `optimize.py`: means, shares and intervals of its rows, how they are written, and the pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
from train_recipes_table import T_95

from heartopt.evaluation.statistics import COVERAGE, RESAMPLES, Interval
from heartopt.evaluation.systems import CONTROLS
from heartopt.report.figures import need_matplotlib, new_figure, save_figure
from heartopt.training.panels import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SKY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPORT, REPORT_IN_LOOP = "report", "report, rounded in the loop"
PROJECTION, ORACLE, CEILING, RANDOM = "projection", "oracle", "scalar_roundtrip", "random_codes"
STANDARD, BEST, FROM_ZERO = "standard", "best", "flow from zero"
METRICS = {"stft": "STFT", "mel": "mel"}
#: What the systems are called in pictures, and how they look: colour and mark.
NAMES = {
    REPORT: "the report's way (a)",
    PROJECTION: "projection (c)",
    ORACLE: "withheld encoder (d)",
    CEILING: "ceiling (e)",
    RANDOM: "random codes",
}
LOOKS = {
    PROJECTION: (BLUE, "o"),
    "draft": (SKY, "v"),
    STANDARD: (GREEN, "s"),
    BEST: (INK, "*"),
    FROM_ZERO: (ORANGE, "^"),
    REPORT: (RED, "D"),
    ORACLE: (PURPLE, "P"),
    CEILING: (GREY, "|"),
}
LINES = {ORACLE: (PURPLE, "--"), CEILING: (INK, "-"), RANDOM: (GREY, "-.")}
_OTHER_MARKS = "<>Xphd"
NOT_RUN, MISSING = "not run", "–"

Json = Mapping[str, Any]
#: A value of each excerpt.
Found = Mapping[str, float]


def score(scores: Sequence[Json], metric: str) -> float:
    """The mean over seeds; NaN where one has no value."""
    return mean(math.nan if entry[metric] is None else entry[metric] for entry in scores)


class Results:
    """Rows by group, system and excerpt."""

    def __init__(self, recipe: Json, rows: Sequence[Json]) -> None:
        self.recipe = recipe
        self.rows: dict[tuple[str | None, str], dict[str, Json]] = {}
        for row in sorted(rows, key=lambda row: row["excerpt"]):
            self.rows.setdefault((row["group"], row["system"]), {})[row["excerpt"]] = row
        self.systems = (REPORT, REPORT_IN_LOOP, PROJECTION, ORACLE, *recipe["systems"], CEILING, *CONTROLS)

    def of(self, system: str, group: str | None = None) -> Mapping[str, Json]:
        return self.rows.get((group, system), {})

    def values(self, system: str, metric: str, group: str | None = None) -> Found:
        return {excerpt: score(row["scores"], metric) for excerpt, row in self.of(system, group).items()}

    def wall(self, system: str, group: str | None = None) -> Found:
        return {excerpt: row["wall"] for excerpt, row in self.of(system, group).items()}

    def pace(self, system: str) -> Found:
        """Seconds for a second of audio."""
        return {excerpt: row["wall"] / row["audio_seconds"] for excerpt, row in self.of(system).items()}

    def share(self, system: str, start: str, metric: str) -> Interval:
        """How much of the way from `start` to the ceiling a system has closed."""
        return share(*(self.values(name, metric) for name in (system, start, CEILING)))

    def missing(self, *systems: str) -> str:
        """Why something cannot be said of these systems together."""
        absent = [system for system in systems if not self.of(system)]
        return ", ".join(f"`{system}` was {NOT_RUN}" for system in absent) or "no excerpt has all that it needs"

    def race(self, system: str) -> dict[str, tuple[float, float]]:
        """Of each excerpt: STFT less that of the report's way; how many times as long that takes."""
        theirs, ours = self.values(REPORT, "stft"), self.values(system, "stft")
        long, short = self.wall(REPORT), self.wall(system)
        both = [name for name in theirs if math.isfinite(theirs[name] - ours.get(name, math.nan))]
        return {name: (ours[name] - theirs[name], long[name] / short[name]) for name in both}

    def closed(self, systems: Iterable[str]) -> dict[tuple[str, str], dict[str, Interval]]:
        """Of each system and metric: share of the way from the projection to the ceiling, excerpt by excerpt."""
        found = {}
        for system, metric in product(systems, METRICS):
            three = [self.values(name, metric) for name in (system, PROJECTION, CEILING)]
            common = [name for name in three[0] if all(name in one for one in three)]
            found[system, metric] = {name: share(*({name: one[name]} for one in three)) for name in common}
        return found

    def misfits(self) -> tuple[list[str], list[str]]:
        """Systems that the recipe does not have; systems with a row of other settings or seeds than the recipe's."""
        unknown, others = [], []
        for (group, system), found in sorted(self.rows.items(), key=lambda item: str(item[0])):
            label = f"`{system}`" if group is None else f"`{group}`: `{system}`"
            entries = self.recipe["systems"] if group is None else self.recipe["ablations"].get(group, {})
            if system not in (entries if group else self.systems):
                unknown.append(label)
                continue
            wanted = {**(next(iter(entries.values())) if group else {}), **entries.get(system, {})}
            seeds = {tuple(entry["seed"] for entry in row["scores"]) for row in found.values()}
            strange = seeds - {(None,), tuple(self.recipe["seeds"])}
            if strange or any(row["settings"] != wanted for row in found.values()):
                others.append(label)
        return unknown, others


def together(*found: Found) -> list[list[float]]:
    """The values of the excerpts that all have."""
    common = [name for name in found[0] if all(math.isfinite(one.get(name, math.nan)) for one in found)]
    return [[one[name] for name in common] for one in found]


def share(values: Found, start: Found, end: Found) -> Interval:
    """`(start - value) / (start - end)`, each a mean over the excerpts that have all; these drawn for the interval.

    NaN where the way has no length. No interval where it has none in one of the draws.
    """
    here, first, last = (np.array(one) for one in together(values, start, end))
    closed, way = first - here, first - last
    if not len(way) or way.mean() <= 0:
        return Interval(math.nan, math.nan, math.nan, len(way))
    found, low, high = float(closed.mean() / way.mean()), math.nan, math.nan
    draws = np.random.default_rng(0).integers(0, len(way), size=(RESAMPLES, len(way)))
    ways = way[draws].mean(axis=1)
    if len(way) > 1 and ways.min() > 0:
        tail = (1 - COVERAGE) / 2
        low, high = map(float, np.quantile(closed[draws].mean(axis=1) / ways, [tail, 1 - tail]))
    return Interval(found, low, high, len(way))


def t_interval(values: Sequence[float]) -> Interval:
    """Mean with its 95 % interval by Student's t: for few excerpts, which are too few to draw from."""
    if len(values) < 2:
        return Interval(values[0] if values else math.nan, math.nan, math.nan, len(values))
    reach = T_95.get(len(values), T_95[max(T_95)]) * stdev(values) / len(values) ** 0.5
    return Interval(mean(values), mean(values) - reach, mean(values) + reach, len(values))


def table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]])


def number(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.3f}"


def interval(found: Interval) -> str:
    bounds = "" if math.isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]"
    return number(found.mean) + bounds


def signed(found: Interval, expected: int | None = None) -> str:
    if math.isnan(found.mean):
        return MISSING
    bounds = "" if math.isnan(found.low) else f" [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{found.mean:+.3f}{bounds}" + ("" if expected in (None, found.count) else f" (n {found.count})")


def percent(found: Interval, expected: int | None = None) -> str:
    if math.isnan(found.mean):
        return MISSING
    bounds = "" if math.isnan(found.low) else f" [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"{100 * found.mean:.1f} %{bounds}" + ("" if expected in (None, found.count) else f" (n {found.count})")


def excerpts(count: int) -> str:
    return f"{count} excerpt" if count == 1 else f"{count} excerpts"


def time(seconds: float) -> str:
    return f"{seconds:,.{0 if seconds >= 100 else 1 if seconds >= 10 else 2 if seconds >= 1 else 3}f}"


@dataclass(frozen=True)
class Spot:
    """A system's means, and its seconds for a second of audio."""

    pace: float
    stft: float
    mel: float


@dataclass(frozen=True)
class TimePicture:
    """Quality against time: systems, the report's steps before its last, and lines; all over the same excerpts."""

    systems: Mapping[str, Spot]
    steps: Sequence[Spot]
    lines: Mapping[str, Spot]
    excerpts: int


def time_picture(results: Results) -> TimePicture:
    """Means over the excerpts that all that is drawn have, those with steps of the report's way if any have them."""
    moving = [name for name in (PROJECTION, *results.recipe["systems"], REPORT) if results.of(name)]
    still = [name for name in LINES if results.of(name)]
    common = set.intersection(*(set(results.of(name)) for name in (*moving, *still))) if moving + still else set()
    stepped = {name for name, row in results.of(REPORT).items() if row.get("points")}
    common = common & stepped or common
    chosen = {name: [results.of(name)[excerpt] for excerpt in sorted(common)] for name in (*moving, *still)}
    by_step: dict[int, list[tuple[Json, Json]]] = {}
    for row in chosen.get(REPORT, ()):
        for point in row.get("points", ()):
            by_step.setdefault(point["step"], []).append((row, point))
    spots = {name: _spot([(row, row) for row in rows]) for name, rows in chosen.items() if rows}
    steps = [_spot(found) for _, found in sorted(by_step.items()) if len(found) == len(common)]
    drawn = ({name: spots[name] for name in names if name in spots} for names in (moving, still))
    systems, lines = drawn
    return TimePicture(systems, steps, lines, len(common))


def _spot(found: Sequence[tuple[Json, Json]]) -> Spot:
    """Of rows, each with the measurement of it: its own, or one of a step on its way."""
    pace = median(measured["wall"] / row["audio_seconds"] for row, measured in found)
    return Spot(pace, *(mean(score(measured["scores"], metric) for _, measured in found) for metric in METRICS))


def draw_time(path: Path, picture: TimePicture, fraction: float) -> None:
    """Draw it into the PNG file `path`, with a line at 1/`fraction` of the time of the report's way."""
    need_matplotlib("quality against time")
    figure = new_figure(11.0, 4.6, f"Quality against time: means over {excerpts(picture.excerpts)}, lower is better")
    panels = figure.subplots(1, len(METRICS))
    for axis, (metric, word) in zip(panels, METRICS.items(), strict=True):
        for name, spot in picture.lines.items():
            colour, style = LINES[name]
            axis.axhline(getattr(spot, metric), color=colour, linestyle=style, lw=1.2, label=NAMES[name], zorder=1)
        end = picture.systems.get(REPORT)
        if end is not None:
            way = [*picture.steps, end]
            places = [spot.pace for spot in way], [getattr(spot, metric) for spot in way]
            axis.plot(*places, color=RED, lw=1.2, marker=".", ms=7, label="its steps, rounded", zorder=2)
            axis.axvline(end.pace / fraction, color=RED, linestyle=":", lw=1.2, label=f"1/{fraction:g} of its time")
        for name, spot in picture.systems.items():
            _dots(axis, name, [spot.pace], [getattr(spot, metric)], _looks(name, list(picture.systems)))
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set(xlabel="seconds for a second of audio", ylabel=word)
        axis.margins(x=0.08)
        axis.grid(color="#E4E4E4", lw=0.8)
        axis.set_axisbelow(True)
    labelled = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))
    order = [*(NAMES.get(name, name) for name in picture.systems), "its steps, rounded", f"1/{fraction:g} of its time"]
    order += [NAMES[name] for name in picture.lines]
    shown = [label for label in order if label in labelled]
    if shown:
        handles = [labelled[label] for label in shown]
        figure.legend(handles, shown, loc="outside right center", frameon=False, fontsize=9)
    save_figure(figure, path)


def draw_excerpts(path: Path, values: Mapping[str, Found]) -> None:
    """Draw a metric of systems into the PNG file `path`, an excerpt a line, those with the lowest ceiling on top."""
    need_matplotlib("the excerpts")
    names = sorted({name for found in values.values() for name in found})
    names.sort(key=lambda name: values.get(CEILING, {}).get(name, math.inf))
    figure = new_figure(9.0, 1.6 + 0.34 * max(3, len(names)), "STFT of each excerpt, lower is better")
    axis = figure.subplots()
    for system, found in values.items():
        places = [(found[name], row) for row, name in enumerate(names) if math.isfinite(found.get(name, math.nan))]
        if places:
            _dots(axis, system, *zip(*places, strict=True), _looks(system, list(values)))
    axis.set_yticks(range(len(names)), names, parse_math=False)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlabel("STFT")
    axis.grid(color="#E4E4E4", lw=0.8)
    axis.set_axisbelow(True)
    if any(values.values()):
        figure.legend(loc="outside right center", frameon=False, fontsize=9)
    save_figure(figure, path)


def _looks(name: str, names: Sequence[str]) -> tuple[str, str]:
    return LOOKS.get(name, (INK, _OTHER_MARKS[names.index(name) % len(_OTHER_MARKS)]))


def _dots(axis: Axes, name: str, x: Sequence[float], y: Sequence[float], looks: tuple[str, str]) -> None:
    colour, mark = looks
    size = {"*": 11, "|": 14}.get(mark, 8.5)
    style = {"color": colour, "marker": mark, "ms": size, "mec": colour if mark == "|" else "white", "mew": 0.8}
    if mark == "|":
        style["mew"] = 2.5
    axis.plot(x, y, linestyle="", label=NAMES.get(name, name), zorder=3, **style)
