"""A picture of one song's refinement: what it sounds like before and after, the loss curves, the codes that moved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from heartopt.audio import SAMPLE_RATE
from heartopt.optimize import WindowCurve
from heartopt.report.figures import need_matplotlib, new_figure, plain_text, save_figure
from heartopt.report.spectrograms import PANEL_HEIGHT, draw_panels, panels
from heartopt.tokens import FRAME_RATE
from heartopt.training.panels import GREY, INK, SMOOTHED, legend, moving_average

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

#: Up to about as many frames as the panel has pixels are shown one by one; of more, the share changed in each of at
#: most so many columns.
MOST_CODES, CODE_COLUMNS = 1250, 500
#: From more windows on, a median is drawn over their curves, and colours are explained by a scale.
MANY_WINDOWS = 4
#: What the phases minimize; another phase is called by its own name.
OBJECTIVES = {"flow": "flow-matching loss", "ode": "loss of the decoded sound"}

_KEPT, _CHANGED = "#E8E8E8", "#D55E00"
_FEW_STEPS = 10  # up to so many steps of a phase have a mark each


def draw_optimization(
    path: Path,
    *,
    title: str,
    sounds: Mapping[str, Tensor],
    losses: Sequence[WindowCurve],
    start_tokens: Tensor,
    tokens: Tensor,
) -> None:
    """Draw one song's refinement into the PNG file `path`, atomically.

    Args:
        sounds: what is compared, in order: name -> audio `[2, N]` at 48 kHz; the song first, the result last.
        losses: one curve a window; none and empty ones are said to be empty.
        start_tokens, tokens: codes `[K, F]` before and after.

    Raises:
        HeartoptError: matplotlib is not installed.
        OutputError: `path` cannot be written.
    """
    need_matplotlib("an optimization")
    save_figure(make_figure(title=title, sounds=sounds, losses=losses, start_tokens=start_tokens, tokens=tokens), path)


def make_figure(
    *, title: str, sounds: Mapping[str, Tensor], losses: Sequence[WindowCurve], start_tokens: Tensor, tokens: Tensor
) -> Figure:
    """Spectrograms, their difference and changed codes over one time axis; below them a panel of losses a phase."""
    if start_tokens.shape != tokens.shape:
        raise ValueError(f"tokens {list(start_tokens.shape)} became {list(tokens.shape)}: no code can be compared")
    levels = tokens.shape[0]
    heights = [*[PANEL_HEIGHT] * panels(sounds), max(1.6, 0.19 * levels + 0.3)]  # inches
    figure = new_figure(13.0, sum(heights) + 3.4, title)
    halves = figure.add_gridspec(2, 1, height_ratios=(sum(heights), 2.4))
    rows = halves[0].subgridspec(len(heights), 1, height_ratios=heights)
    length = tokens.shape[1] / FRAME_RATE
    heard = max((audio.shape[-1] / SAMPLE_RATE for audio in sounds.values()), default=length)
    whole = length - heard < 1 / FRAME_RATE  # the sounds may be a song's beginning; the codes are all of it
    axes: list[Axes] = []
    for row in range(len(heights)):
        shared = axes[0] if axes and (whole or row < len(heights) - 1) else None
        axes.append(figure.add_subplot(rows[row, 0], sharex=shared))
    draw_panels(figure, axes[:-1], sounds)
    _codes(figure, axes[-1], (start_tokens != tokens).cpu().numpy())
    axes[0].set_xlim(0.0, heard)
    axes[-1].set_xlim(0.0, heard if whole else length)
    axes[-1].set_xlabel("seconds" if whole else f"seconds of the whole song (the sounds above: its first {heard:g} s)")
    for axis in axes[:-1] if whole else axes[:-2]:
        axis.tick_params(labelbottom=False)
    _losses(figure, halves[1], losses)
    return figure


def _codes(figure: Figure, axis: Axes, changed: np.ndarray) -> None:
    """Which codes `[K, F]` changed, level by level; the share of each level at the right."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    levels, frames = changed.shape
    image = axis.imshow(
        shares(changed),
        vmin=0,
        vmax=1,
        cmap=LinearSegmentedColormap.from_list("changed", (_KEPT, _CHANGED)),
        aspect="auto",
        interpolation="nearest",
        extent=(0.0, frames / FRAME_RATE, levels + 0.5, 0.5),
    )
    axis.set_title(f"codes changed: {100 * changed.mean():.1f} % (level 1 is the coarsest)", loc="left", fontsize=10.5)
    axis.set_ylabel("level")
    axis.yaxis.set_major_locator(MaxNLocator(nbins=16, integer=True, min_n_ticks=1))
    for border in range(1, levels):
        axis.axhline(border + 0.5, color="white", linewidth=1.0)
    place = axis.get_yaxis_transform()
    for level, share in enumerate(changed.mean(1), 1):
        axis.text(1.006, level, f"{100 * share:.1f} %", transform=place, va="center", fontsize=8.5, color=INK)
    if frames > MOST_CODES:
        percent = PercentFormatter(1.0, decimals=0, symbol=" %")
        figure.colorbar(image, ax=axis, label="share changed", format=percent, pad=0.01)
        return
    handles = [Patch(color=_CHANGED, label="changed"), Patch(color=_KEPT, label="kept")]
    above: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.2}
    axis.legend(handles=handles, ncols=2, fontsize=8.5, frameon=False, **above)


def shares(changed: np.ndarray) -> np.ndarray:
    """`[K, F]` -> itself as numbers, or where F is above `MOST_CODES`, the share changed within each run of frames."""
    frames = changed.shape[1]
    if frames <= MOST_CODES:
        return changed.astype(float)
    width = math.ceil(frames / CODE_COLUMNS)
    starts = np.arange(0, frames, width)
    counts = np.diff(np.append(starts, frames))
    means = np.add.reduceat(changed, starts, axis=1, dtype=float) / counts
    return np.repeat(means, counts, axis=1)  # every frame keeps its place in time


def _losses(figure: Figure, place: SubplotSpec, losses: Sequence[WindowCurve]) -> None:
    """One panel a phase that occurs: each has its own scale."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.ticker import MaxNLocator

    phases = list(dict.fromkeys(phase for curve in losses for phase in curve.objective))
    panels = place.subgridspec(1, max(1, len(phases))).subplots(squeeze=False)[0]
    for axis in panels:
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlabel("step of the window")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        axis.set_ylabel("loss")
    if not phases:
        panels[0].set_title("loss", loc="left", fontsize=10.5)
        panels[0].set_xticks([])
        _say(panels[0], "no steps were taken")
        return
    colours = _window_colours(len(losses))
    for axis, phase in zip(panels, phases, strict=True):
        _phase(axis, phase, losses, colours)
    if len(losses) > MANY_WINDOWS:
        norm = BoundaryNorm(np.arange(len(losses) + 1) + 0.5, len(losses))
        scale: ScalarMappable = ScalarMappable(norm, ListedColormap(colours))
        ticks = MaxNLocator(nbins=8, integer=True)
        figure.colorbar(scale, ax=list(panels), label="window", ticks=ticks, pad=0.01, aspect=15).minorticks_off()


def _phase(axis: Axes, phase: str, losses: Sequence[WindowCurve], colours: Sequence[tuple[float, ...]]) -> None:
    """Every window's loss over its steps of one phase; steps without a finite loss leave gaps."""
    steps, values = phase_values(phase, losses)
    there = np.isfinite(values)
    taken = sum(curve.objective.count(phase) for curve in losses)
    missing = taken - int(there.sum())
    note = f" ({missing} of {taken} steps not finite)" if missing else ""
    axis.set_title(f"{OBJECTIVES.get(phase, plain_text(phase))}{note}", loc="left", fontsize=10.5, parse_math=False)
    axis.set_xlim(*((steps[0], steps[-1]) if len(steps) > 1 else (steps[0] - 0.5, steps[0] + 0.5)))
    if not there.any():
        _say(axis, "no finite loss")
        return
    many, smooth = len(losses) > MANY_WINDOWS, len(steps) >= SMOOTHED
    if smooth:
        for row, colour in zip(values, colours, strict=True):
            axis.plot(steps, row, color=colour, linewidth=0.5, alpha=0.25 / (1 + many))
        values = np.stack([moving_average(row) for row in values])
    marker = "o" if len(steps) <= _FEW_STEPS else ""
    for number, (row, colour) in enumerate(zip(values, colours, strict=True), 1):
        label = "_" if many or len(losses) == 1 or not np.isfinite(row).any() else f"window {number}"
        width = 0.9 if many else 1.4
        axis.plot(steps, row, color=colour, linewidth=width, marker=marker, markersize=3, label=label, clip_on=False)
    if many:
        middle = _median(values)
        axis.plot(steps, middle, color=INK, linewidth=2.4, marker=marker, markersize=4, label="median", clip_on=False)
    if smooth:
        axis.plot([], [], color=GREY, linewidth=0.5, label="single steps (faint)")
    legend(axis, columns=4)


def phase_values(phase: str, losses: Sequence[WindowCurve]) -> tuple[np.ndarray, np.ndarray]:
    """Steps of `phase`, from 1, first to last of any window; and `[windows, steps]` losses, NaN where there is none."""
    whole = np.full((len(losses), max(len(curve.loss) for curve in losses)), np.nan)
    inside = np.zeros(whole.shape[1], dtype=bool)
    for row, curve in zip(whole, losses, strict=True):
        for step, (name, loss) in enumerate(zip(curve.objective, curve.loss, strict=True)):
            if name == phase:
                row[step] = loss if math.isfinite(loss) else np.nan
                inside[step] = True
    first, last = np.flatnonzero(inside)[[0, -1]]
    return np.arange(first, last + 1) + 1, whole[:, first : last + 1]


def _median(values: np.ndarray) -> np.ndarray:
    """`[windows, steps]` -> each step's median, NaN where fewer than half as many windows as elsewhere have a value."""
    middle = np.full(values.shape[1], np.nan)
    there = np.isfinite(values).sum(0)
    enough = 2 * there >= there.max()
    middle[enough] = np.nanmedian(values[:, enough], axis=0)
    return middle


def _window_colours(windows: int) -> list[tuple[float, ...]]:
    from matplotlib import colormaps

    return [tuple(colour) for colour in colormaps["viridis"](np.linspace(0.0, 0.9, windows))]


def _say(axis: Axes, words: str) -> None:
    axis.text(0.5, 0.5, words, transform=axis.transAxes, ha="center", va="center", color=GREY, fontsize=9)
    axis.set_yticks([])
