"""`curves.png`: a run at a glance, beside what the training report expects of its own runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heartopt.errors import HeartoptError
from heartopt.files import atomic_path
from heartopt.metrics import TIERS
from heartopt.training.history import History, Series, read_history
from heartopt.training.panels import (
    BLUE,
    DOTS_PER_INCH,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    Curve,
    draw,
    legend,
    plainly,
    widen,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Values of `stft` where `tier` passes from one tier to the next.
TIER_BORDERS = (1.0, 2.0, 3.0)
CAPTION = (
    "Green bands: what the training report expects at epochs 1, 10, 50 and 100 of its own runs, joined in between: a "
    "reference, not a judgement of this run. Its epochs have one crop a song.\n"
    "Its STFT is its own log1p form (here dashed, where it was measured): neither the solid line nor the tiers can be "
    "compared with its band.\n"
    "Its usage counts the codes of one batch: more music in a batch shows more of them, and a smaller codebook has "
    "fewer to show."
)

TERM_COLOURS = (BLUE, ORANGE, PURPLE, RED, SKY, GREEN, "#8C6D31", "#999999")
SIZE_INCHES = (13.0, 11.0)
#: How a panel's title looks.
TITLE: dict[str, Any] = {"fontsize": 10.5, "loc": "left", "color": INK}


def draw_curves(metrics_jsonl: Path, out: Path) -> None:
    """Draw the records of `metrics_jsonl` into the PNG file `out`, atomically; safe beside other users of matplotlib.

    Raises:
        HeartoptError: matplotlib is not installed, or `metrics_jsonl` cannot be read.
        OutputError: `out` cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise HeartoptError("drawing curves needs matplotlib: pip install 'heartopt[report]'") from error
    figure = make_figure(read_history(metrics_jsonl))
    FigureCanvasAgg(figure)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)


def make_figure(history: History) -> Figure:
    """The panels of `history`, with no part in pyplot's state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08, hspace=0.03, wspace=0.02)
    grid = figure.add_gridspec(6, 2)  # the last two panels share the room of one
    panels = ((_loss, 0, 0), (_flow, 0, 1), (_stft, 2, 0), (_commitment, 2, 1), (_usage, 4, 0))
    places = [(panel, grid[row : row + 2, column]) for panel, row, column in panels]
    for panel, place in (*places, (_rate, grid[4, 1]), (_norm, grid[5, 1])):
        axis = figure.add_subplot(place)
        axis.set_xlim(0, history.epoch if history.epoch > 0 else 1)
        axis.grid(True, color="#E4E4E4", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8.5, colors=INK)
        panel(axis, history)
    figure.axes[4].set_xlabel("epoch", fontsize=9)
    figure.axes[6].set_xlabel("epoch", fontsize=9)
    skipped = f" ({history.skipped} skipped)" if history.skipped else ""
    figure.suptitle(f"after step {history.step}{skipped}, epoch {history.epoch:.4g}", fontsize=12, color=INK)
    figure.supxlabel(CAPTION, x=0.015, ha="left", fontsize=8.5, color=GREY)
    return figure


def _loss(axis: Axes, history: History) -> None:
    axis.set_title("loss and its unweighted terms", **TITLE)
    curves = [Curve("loss (weighted sum)", history.steps["loss"], INK)]
    for index, (name, series) in enumerate(history.terms.items()):
        curves.append(Curve(name, series, TERM_COLOURS[index % len(TERM_COLOURS)]))
    draw(axis, curves, log=True)
    legend(axis, columns=3)


def _flow(axis: Axes, history: History) -> None:
    axis.set_title("held-out flow loss", **TITLE)
    flow = history.held_out["flow"]
    draw(axis, [Curve("", flow, BLUE, marked=True)])
    if flow:
        epoch, value = flow.lowest
        label = f"best: {value:.4f} at epoch {epoch:.4g}"
        axis.plot([epoch], [value], "o", color=RED, markersize=7, label=label, clip_on=False, zorder=5)
    legend(axis)


def _stft(axis: Axes, history: History) -> None:
    axis.set_title("STFT of decoded clips", **TITLE)
    curves = [
        Curve("stft (has the tiers)", history.clips["stft"], BLUE, marked=True),
        Curve("stft_log1p (the report's form)", history.clips["stft_log1p"], ORANGE, marked=True, style="--"),
    ]
    if draw(axis, curves, log=True, expected="stft", epoch=history.epoch):
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, 0.8), max(high, 3.8))
    legend(axis, columns=2)
    if any(curve.series for curve in curves):
        _tiers(axis)


def _tiers(axis: Axes) -> None:
    """Lines at the borders of the tiers, and their names between these."""
    edges = (axis.get_ylim()[0], *TIER_BORDERS, axis.get_ylim()[1])
    for border in TIER_BORDERS:
        axis.axhline(border, color=GREY, linewidth=0.9, linestyle=":")
    for tier, low, high in zip(TIERS, edges[:-1], edges[1:], strict=True):
        middle = math.sqrt(low * high)  # of the logarithmic scale
        place = axis.get_yaxis_transform()
        axis.text(1.01, middle, tier.name, transform=place, fontsize=8.5, color=GREY, va="center")


def _commitment(axis: Axes, history: History) -> None:
    axis.set_title("commitment: distance to the chosen codes", **TITLE)
    curves = [
        Curve("in training", history.terms.get("commitment", Series()), BLUE),
        Curve("held out", history.held_out["commitment"], ORANGE, marked=True),
    ]
    draw(axis, curves, log=True, expected="commitment", epoch=history.epoch)
    legend(axis, columns=3)


def _usage(axis: Axes, history: History) -> None:
    axis.set_title("codebook usage: codes per batch, mean over levels", **TITLE)
    curves = [Curve("in training", history.steps["usage"], BLUE)]
    draw(axis, curves, log=True, expected="usage", epoch=history.epoch)
    legend(axis, columns=2)


def _rate(axis: Axes, history: History) -> None:
    axis.set_title("learning rate", **TITLE)
    if draw(axis, [Curve("", history.steps["learning_rate"], BLUE)], smooth=False):
        axis.yaxis.set_major_formatter(plainly)
        axis.set_ylim(bottom=0)


def _norm(axis: Axes, history: History) -> None:
    axis.set_title("gradient norm before clipping", **TITLE)
    draw(axis, [Curve("", history.steps["gradient_norm"], BLUE)], log=True)
    if history.skips:
        epochs, bottom = history.skips.points()
        place = axis.get_xaxis_transform()
        label = f"skipped steps: {history.skipped}"
        axis.plot(epochs, bottom, "|", color=RED, markersize=10, transform=place, label=label)
        widen(axis, below=0.15)
    legend(axis)
