"""What the panels of `curves.png` are made of: curves, the training report's bands, scales and legends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heartopt.training.history import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The report's table of expected values: epochs, and the range of each figure at these.
EXPECTED_EPOCHS = (1.0, 10.0, 50.0, 100.0)
EXPECTED = {
    "stft": ((5.0, 8.0), (2.0, 4.0), (1.0, 2.0), (0.5, 1.5)),
    "commitment": ((0.5, 1.0), (0.2, 0.5), (0.1, 0.3), (0.05, 0.2)),
    "usage": ((50.0, 200.0), (200.0, 500.0), (500.0, 2000.0), (1000.0, 4000.0)),
}
#: Colours that most colour-blind people can tell apart (Okabe and Ito).
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, GREY = "#222222", "#777777"
DOTS_PER_INCH = 110
#: Up to so many measurements have a mark each.
MARKED = 120
#: From so many points on, a curve of single steps is drawn faintly, and its moving average over it.
SMOOTHED = 150


@dataclass(frozen=True)
class Curve:
    """A series and how it looks; `marked`: each value is a measurement of its own and gets a mark."""

    label: str
    series: Series
    colour: str
    marked: bool = False
    style: str = "-"


def draw(
    axis: Axes,
    curves: Sequence[Curve],
    *,
    log: bool = False,
    smooth: bool = True,
    expected: str = "",
    epoch: float = 0.0,
) -> bool:
    """Draw what there is of `curves` up to `epoch`, over the report's range of the figure `expected`; whether there is
    anything. On a logarithmic scale values of 0 or less leave gaps.
    """
    lines = []
    for curve in curves:
        epochs, values = (np.asarray(part) for part in curve.series.points())
        values = np.where(values > 0, values, np.nan) if log else values
        if np.isfinite(values).any():
            lines.append((curve, epochs, values))
    if not lines:
        axis.text(0.5, 0.5, "no values yet", transform=axis.transAxes, ha="center", color=GREY, fontsize=9)
        axis.set_yticks([])
        return False
    if expected:
        _band(axis, expected, epoch)
    for curve, epochs, values in lines:
        faint = smooth and not curve.marked and len(values) >= SMOOTHED
        if faint:
            axis.plot(epochs, values, color=curve.colour, linewidth=0.6, alpha=0.3)
        axis.plot(
            epochs,
            moving_average(values) if faint else values,
            curve.style,
            label=curve.label or "_",  # matplotlib leaves such a name out of the legend
            color=curve.colour,
            linewidth=1.5,
            marker="o" if len(values) <= (MARKED if curve.marked else 1) else "",
            markersize=3,
            clip_on=False,
        )
    if log:
        _log_scale(axis)
    return True


def moving_average(values: np.ndarray) -> np.ndarray:
    """The mean over a fiftieth of the curve around each point; NaN counts as none."""
    width = 2 * (len(values) // 100) + 1
    there = np.isfinite(values)
    kernel = np.ones(width)
    total = np.convolve(np.where(there, values, 0.0), kernel, "same")
    count = np.convolve(there.astype(float), kernel, "same")
    return np.where(there, total / np.maximum(count, 1), np.nan)


def expected_at(name: str, epochs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge of the report's range at `epochs`, straight on a logarithmic scale between its own."""
    edges = np.log(np.asarray(EXPECTED[name]))
    low, high = (np.exp(np.interp(epochs, EXPECTED_EPOCHS, edge)) for edge in edges.T)
    return low, high


def _band(axis: Axes, name: str, epoch: float) -> None:
    """The report's range, as far as the run has come; before epoch 1 there is none."""
    first, last = EXPECTED_EPOCHS[0], min(epoch, EXPECTED_EPOCHS[-1])
    if last <= first:
        return
    epochs = np.linspace(first, last, 200)
    low, high = expected_at(name, epochs)
    label = "expected by the training report"
    axis.fill_between(epochs, low, high, color=GREEN, alpha=0.16, linewidth=0, label=label)


def plainly(value: float, _: object) -> str:
    return f"{value:g}"


def _log_scale(axis: Axes) -> None:
    """A logarithmic scale with plain numbers at it, few enough to be read."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    closeness = math.log10(high / low) / (axis.bbox.height / DOTS_PER_INCH)  # decades an inch
    subs = (1.0,) if closeness > 1.6 else (1.0, 3.0) if closeness > 0.8 else (1.0, 2.0, 3.0, 5.0)
    axis.yaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axis.yaxis.set_major_formatter(plainly)
    axis.yaxis.set_minor_formatter(NullFormatter())


def legend(axis: Axes, columns: int = 1) -> None:
    """A legend at the top, and room for it there, so that it hides nothing."""
    handles, labels = axis.get_legend_handles_labels()
    if not handles:
        return
    rows = math.ceil(len(handles) / columns)
    widen(axis, above=min(0.6, (0.1 + 0.19 * rows) / (axis.bbox.height / DOTS_PER_INCH)))
    legend = axis.legend(
        handles,
        labels,
        loc="upper right",
        fontsize=8.5,
        ncols=columns,
        frameon=False,
        borderaxespad=0.0,
        columnspacing=1.2,
        handlelength=1.6,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # names come from a file


def widen(axis: Axes, *, above: float = 0.0, below: float = 0.0) -> None:
    """Leave these shares of the axis' height free above and below what it shows now."""
    scale = axis.yaxis.get_transform()
    low, high = scale.transform(np.asarray(axis.get_ylim()))
    unit = (high - low) / (1 - above - below)
    bottom, top = scale.inverted().transform(np.asarray([low - below * unit, high + above * unit]))
    axis.set_ylim(float(bottom), float(top))
