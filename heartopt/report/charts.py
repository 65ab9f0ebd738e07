"""Charts of an evaluation's rows: tiers and controls, quality against bits and time, codes by level.

Colours are Okabe and Ito's, and every system has a mark of its own too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heartopt.evaluation import Evaluation, Summary
from heartopt.evaluation.systems import CONTROLS
from heartopt.metrics import quantity
from heartopt.metrics.tiers import TIER_METRIC, TIERS
from heartopt.report.figures import new_figure, plain_text
from heartopt.report.suite_tables import code_levels
from heartopt.report.tables import DOUBT, fixed, label
from heartopt.training.curves import TIER_BORDERS
from heartopt.training.panels import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SKY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Shades of the tiers from good to bad; their words stand above them.
_SHADES = ("#D7EDDF", "#EAF3E6", "#F7F0D8", "#F6E0D6")
_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, INK)
_MARKS = "osD^vPX*<>"
_LONGEST_NAME = 40
_DODGE = 0.03  # decades between points that would hide each other


@dataclass(frozen=True)
class Spot:
    """A system's means: across (bits or time), and of the quality that is drawn upwards."""

    system: str
    across: float
    quality: Summary


def tier_figure(evaluation: Evaluation) -> Figure:
    """Mean `stft` of each system with its interval over the shaded tiers, best first; then the controls, in grey.

    A dashed line stands where the first control's interval begins: what reaches it is in doubt.
    """
    found = tier_entries(evaluation)
    figure = new_figure(11.0, 2.0 + 0.34 * len(found), f"{evaluation.suite}: mean {TIER_METRIC} and its tiers")
    axis = figure.subplots()
    far = max(entry.mean if math.isnan(entry.high) else entry.high for entry in found)
    right = max(3.6, 1.12 * far)
    _shade(axis, right)
    systems = sum(entry.system not in CONTROLS for entry in found)
    if 0 < systems < len(found):
        axis.axhline(systems - 0.5, color=GREY, linewidth=0.8)
    for place, entry in enumerate(found):
        control = entry.system in CONTROLS
        looks: dict[str, Any] = {"fmt": "s" if control else "o", "color": GREY if control else BLUE}
        axis.errorbar(entry.mean, place, xerr=_reach(entry), capsize=3, markersize=6, **looks)
        _write(axis, entry, place, right)
    reached = [entry.low for entry in found if entry.system in CONTROLS and math.isfinite(entry.low)]
    if reached and systems:
        words = "here the controls' intervals begin: what reaches this line is in doubt"
        axis.axvline(min(reached), color=INK, linewidth=1.0, linestyle=(0, (4, 3)), label=words)
        figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    axis.set_yticks(range(len(found)), [_name(label(entry.system)) for entry in found], parse_math=False)
    axis.set_ylim(len(found) - 0.4, -0.6)
    axis.set_xlim(0, right)
    axis.set_xlabel(f"{TIER_METRIC} (lower is better); bars: 95 % bootstrap interval over files")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def tier_entries(evaluation: Evaluation) -> list[Summary]:
    """Means of the tier metric, best first, controls last."""
    found = [entry for entry in evaluation.summary if entry.metric == TIER_METRIC and math.isfinite(entry.mean)]
    return sorted(found, key=lambda entry: (entry.system in CONTROLS, entry.mean))


def _shade(axis: Axes, right: float) -> None:
    """The tiers as shades between their borders, their words above them."""
    borders = (0.0, *TIER_BORDERS, right)
    for low, high, shade, tier in zip(borders[:-1], borders[1:], _SHADES, TIERS, strict=True):
        axis.axvspan(low, high, color=shade, linewidth=0)
        middle, place = (low + high) / 2, axis.get_xaxis_transform()
        axis.text(middle, 1.01, tier.name, transform=place, ha="center", va="bottom", fontsize=9.5)
    for border in TIER_BORDERS:
        axis.axvline(border, color="white", linewidth=1.5)


def _write(axis: Axes, entry: Summary, place: int, right: float) -> None:
    """The mean beside its bar, on the side where there is room."""
    side = 1 if entry.mean < 0.7 * right else -1
    edge = entry.mean if math.isnan(entry.high) else (entry.high if side > 0 else entry.low)
    axis.annotate(
        f"{entry.mean:.2f}{DOUBT if entry.overlaps else ''}",
        (edge, place),
        xytext=(6 * side, 0),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        va="center",
        fontsize=9,
        color=INK,
        bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.7, "linewidth": 0},
    )


def rate_figure(evaluation: Evaluation) -> Figure:
    """Quality against kbit/s; a codec's bitrates are joined."""
    return _against(evaluation, "kbps", "kbit/s; systems of one bitrate stand side by side")


def time_figure(evaluation: Evaluation) -> Figure:
    """Quality against the seconds that a second of audio takes."""
    return _against(evaluation, "rtf", "seconds to make a second of audio's tokens, or sound")


def qualities(evaluation: Evaluation) -> tuple[str, ...]:
    """What is drawn upwards: the tier metric, and ViSQOL where it was measured, else the mel distance."""
    others = (name for name in ("visqol", "mel") if any(math.isfinite(e.mean) for e in _entries(evaluation, name)))
    return (TIER_METRIC, *list(others)[:1])


def spots(evaluation: Evaluation, across: str, metric: str) -> list[Spot]:
    """Systems that are no controls, with a positive mean of `across` and a mean of `metric`."""
    found = []
    for entry in _entries(evaluation, metric):
        place = evaluation.find(entry.system, across)
        if entry.system not in CONTROLS and place and place.mean > 0 and math.isfinite(entry.mean):
            found.append(Spot(entry.system, place.mean, entry))
    return found


def _entries(evaluation: Evaluation, metric: str) -> list[Summary]:
    return [entry for entry in evaluation.summary if entry.metric == metric]


def _against(evaluation: Evaluation, across: str, words: str) -> Figure:
    names = qualities(evaluation)
    families = _families(evaluation)
    beside = 0.8 + 0.075 * max(len(_name(family)) for family in families)  # inches of the legend
    title = f"{evaluation.suite}: quality against {words.partition(';')[0]}"
    figure = new_figure(5.4 * len(names) + beside, 4.8, title)
    panels: Sequence[Axes] = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, metric in zip(panels, names, strict=True):
        found = spots(evaluation, across, metric)
        places = dict(zip((spot.system for spot in found), _dodged([spot.across for spot in found]), strict=True))
        for number, (family, members) in enumerate(families.items()):
            own = sorted((spot for spot in found if spot.system in members), key=lambda spot: places[spot.system])
            if own:
                looks: dict[str, Any] = {"color": _COLOURS[number % len(_COLOURS)], "label": _name(family)}
                looks |= {"marker": _MARKS[number % len(_MARKS)], "markersize": 7, "capsize": 3}
                looks |= {"linestyle": "-" if across == "kbps" else "", "linewidth": 1.2}
                means = [spot.quality.mean for spot in own]
                reach = np.concatenate([_reach(spot.quality) for spot in own], axis=1)
                axis.errorbar([places[spot.system] for spot in own], means, yerr=reach, **looks)
        _scales(axis, words, metric, _best_control(evaluation, metric))
    _legend(figure, panels[0])
    return figure


def _best_control(evaluation: Evaluation, metric: str) -> Summary | None:
    """The control with the best mean."""
    pick = max if quantity(metric).better == "higher" else min
    controls = (e for e in _entries(evaluation, metric) if e.system in CONTROLS and math.isfinite(e.mean))
    return pick(controls, key=lambda entry: entry.mean, default=None)


def _scales(axis: Axes, words: str, metric: str, control: Summary | None) -> None:
    """Axes and their words, and a line where the best control stands."""
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.margins(x=0.12)
    axis.set_xlabel(words, fontsize=9)
    meant = quantity(metric)
    title = f"{metric} ({meant.better} is better)" if meant.better else metric
    if control:
        axis.axhline(control.mean, color=GREY, linewidth=1.2, linestyle="--", zorder=1)
        title += f"; dashed: the best control, {control.system}, {fixed(control.mean, meant.decimals)}"
    axis.set_title(title, loc="left", fontsize=9.5)
    if meant.better == "lower":
        axis.set_ylim(bottom=0)
    axis.grid(color="#E4E4E4", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def codes_figure(evaluation: Evaluation) -> Figure:
    """Share of the codebook used, and perplexity, level by level, over the whole suite; controls dashed and grey."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(12.0, 4.4, f"{evaluation.suite}: codes by level, all files together")
    panels: Sequence[Axes] = figure.subplots(1, 2)
    kinds = (("usage", "share of the codebook used"), ("perplexity", "perplexity (codes)"))
    for axis, (name, words) in zip(panels, kinds, strict=True):
        for number, entry in enumerate(coded(evaluation)):
            control = entry["system"] in CONTROLS
            looks: dict[str, Any] = {"color": GREY if control else _COLOURS[number % len(_COLOURS)]}
            looks |= {"marker": _MARKS[number % len(_MARKS)], "linestyle": "--" if control else "-"}
            levels = code_levels([entry])
            values = [entry.get(f"{name}_{level}", math.nan) for level in levels]
            axis.plot(levels, values, label=_name(label(entry["system"])), **looks)
        axis.set_title(words, loc="left", fontsize=10.5)
        axis.set_xlabel("level (1 is the coarsest)")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16, min_n_ticks=1))
        axis.set_ylim(bottom=0)
        axis.grid(color="#E4E4E4", linewidth=0.7)
        axis.spines[["top", "right"]].set_visible(False)
    _legend(figure, panels[0])
    return figure


def _legend(figure: Figure, axis: Axes) -> None:
    """What is drawn in `axis`, beside the panels; names are shown as they are."""
    handles, labels = axis.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)


def coded(evaluation: Evaluation) -> list[Mapping[str, Any]]:
    """The suite's records of systems that make tokens."""
    return [entry for entry in evaluation.corpus if "usage_1" in entry]


def _families(evaluation: Evaluation) -> dict[str, list[str]]:
    """Systems by what they are: those of one codec at several bitrates are one family, all others are alone."""
    specs = {entry["name"]: entry["system"] for entry in evaluation.settings.get("specs") or ()}
    families: dict[str, list[str]] = {}
    for system in evaluation.systems:
        codec = re.fullmatch(r"(\w+):\d+", str(specs.get(system, system)))
        if system not in CONTROLS:
            families.setdefault(codec[1] if codec else system, []).append(system)
    return families


def _dodged(values: Sequence[float]) -> list[float]:
    """Positive values, those that nearly coincide set side by side on a logarithmic scale, around their place."""
    order = np.argsort(values, kind="stable")
    logs = np.log10(np.asarray(values, dtype=float))
    groups: list[list[int]] = []
    for index in order.tolist():
        near = groups and logs[index] - logs[groups[-1][0]] < _DODGE
        groups[-1].append(index) if near else groups.append([index])
    for group in groups:
        centre = logs[group].mean()
        for number, index in enumerate(sorted(group)):
            logs[index] = centre + _DODGE * (number - (len(group) - 1) / 2) if len(group) > 1 else logs[index]
    return [float(value) for value in 10**logs]


def _reach(entry: Summary) -> list[list[float]]:
    """Both sides of an error bar, as matplotlib takes them; of no length where there is no interval."""
    if not math.isfinite(entry.low):
        return [[0.0], [0.0]]
    return [[max(0.0, entry.mean - entry.low)], [max(0.0, entry.high - entry.mean)]]


def _name(text: str) -> str:
    """A name short enough for a chart; a long one loses its middle."""
    text, half = plain_text(text), _LONGEST_NAME // 2
    text = text if len(text) <= _LONGEST_NAME else f"{text[:half]}…{text[-half:]}"
    return f" {text}" if text.startswith("_") else text  # matplotlib leaves such a name out of a legend
