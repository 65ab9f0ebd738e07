"""Pictures of an evaluation's rows: tiers and controls, quality against bits and time, codes by level."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heartopt.evaluation import TIERS, Evaluation, Summary
from heartopt.evaluation.systems import CONTROLS
from heartopt.metrics.tiers import TIER_METRIC
from heartopt.report.figures import need_matplotlib, new_figure, plain_text, save_figure
from heartopt.training.panels import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SKY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Upper borders of the tiers; the last one is open. Shades from good to bad, told apart by words too.
_BORDERS = (1.0, 2.0, 3.0)
_SHADES = ("#D7EDDF", "#E9F3E4", "#F7F0D8", "#F6E0D6")
_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, INK)
_MARKS = "osD^vPX*<>"


def applicable(evaluation: Evaluation, stem: str) -> dict[str, str]:
    """The pictures that the rows are enough for: file name -> what it shows, in words for who does not see it."""
    return {f"{stem}.{name}.png": words for name, (words, _, there) in _PICTURES.items() if there(evaluation)}


def draw_report(evaluation: Evaluation, folder: Path, stem: str) -> list[Path]:
    """Draw what is `applicable` into PNG files in `folder`, each atomically.

    Raises:
        HeartoptError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    need_matplotlib("a report's pictures")
    paths = []
    for name, (_, make, there) in _PICTURES.items():
        if there(evaluation):
            paths.append(folder / f"{stem}.{name}.png")
            save_figure(make(evaluation), paths[-1])
    return paths


def tier_figure(evaluation: Evaluation) -> Figure:
    """Mean `stft` of each system with its interval over the shaded tiers, best first, controls in grey below."""
    found = [entry for entry in evaluation.summary if entry.metric == TIER_METRIC and math.isfinite(entry.mean)]
    found.sort(key=lambda entry: (entry.system in CONTROLS, entry.mean))
    figure = new_figure(11.0, 1.6 + 0.42 * len(found), f"{evaluation.suite}: mean STFT loss, and the tiers")
    axis = figure.subplots()
    far = max(entry.mean if math.isnan(entry.high) else entry.high for entry in found)
    right = max(3.6, 1.08 * far)
    for left, border, shade, tier in zip((0.0, *_BORDERS), (*_BORDERS, right), _SHADES, TIERS, strict=True):
        axis.axvspan(left, border, color=shade, linewidth=0)
        axis.text((left + border) / 2, 1.01, tier.name, transform=axis.get_xaxis_transform(), ha="center", fontsize=9.5)
    for place, entry in enumerate(found):
        control = entry.system in CONTROLS
        colour = GREY if control else BLUE
        axis.errorbar(
            entry.mean, place, xerr=_reach(entry), fmt="s" if control else "o", color=colour, capsize=3, markersize=6
        )
        side = 1 if entry.mean < 0.8 * right else -1
        edge = entry.mean if math.isnan(entry.high) else (entry.high if side > 0 else entry.low)
        note = f"{entry.mean:.2f}{' (like a control)' if entry.overlaps else ''}"
        axis.annotate(
            note, (edge, place), xytext=(6 * side, 0), textcoords="offset points", va="center", fontsize=9,
            ha="left" if side > 0 else "right", color=INK,
        )  # fmt: skip
    axis.set_yticks(range(len(found)), [_name(entry.system) for entry in found], parse_math=False)
    axis.set_ylim(len(found) - 0.4, -0.6)
    axis.set_xlim(0, right)
    axis.set_xlabel("STFT loss (lower is better); bars: 95 % bootstrap interval over files")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _against(evaluation: Evaluation, metric: str, label: str) -> Figure:
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = new_figure(9.0, 5.2, f"{evaluation.suite}: STFT loss against {label}")
    axis = figure.subplots()
    for number, (system, across, quality) in enumerate(_points(evaluation, metric)):
        colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)]
        axis.errorbar(
            across.mean, quality.mean, yerr=_reach(quality), color=colour, fmt=mark, capsize=3, markersize=7,
            label=plain_text(system),
        )  # fmt: skip
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(label)
    axis.set_ylabel("STFT loss (lower is better)")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=9, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def rate_figure(evaluation: Evaluation) -> Figure:
    """Mean `stft` against kbit/s."""
    return _against(evaluation, "kbps", "kbit/s (logarithmic)")


def time_figure(evaluation: Evaluation) -> Figure:
    """Mean `stft` against the real-time factor of making the tokens."""
    return _against(evaluation, "rtf", "seconds for a second of audio (logarithmic)")


def codes_figure(evaluation: Evaluation) -> Figure:
    """Share of the codebook used, and perplexity, level by level, over the whole suite."""
    figure = new_figure(11.0, 4.4, f"{evaluation.suite}: codes by level, all files together")
    axes: Sequence[Axes] = figure.subplots(1, 2)
    kinds = (("usage", "share of the codebook used"), ("perplexity", "perplexity (codes)"))
    for axis, (name, words) in zip(axes, kinds, strict=True):
        for number, entry in enumerate(_coded(evaluation)):
            levels = _levels(entry)
            control = entry["system"] in CONTROLS
            axis.plot(
                levels, [entry[f"{name}_{level}"] for level in levels],
                color=GREY if control else _COLOURS[number % len(_COLOURS)], marker=_MARKS[number % len(_MARKS)],
                linestyle="--" if control else "-", label=_name(entry["system"]),
            )  # fmt: skip
        axis.set_xlabel("level (1 is the coarsest)")
        axis.set_ylabel(words)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=9, frameon=False)
    return figure


def _name(system: str) -> str:
    return plain_text(f"control: {system}" if system in CONTROLS else system)


def _reach(entry: Summary) -> list[list[float]] | None:
    """Both sides of an error bar; none where there is no interval."""
    if not math.isfinite(entry.low):
        return None
    return [[max(0.0, entry.mean - entry.low)], [max(0.0, entry.high - entry.mean)]]


def _points(evaluation: Evaluation, metric: str) -> list[tuple[str, Summary, Summary]]:
    """Systems that are no controls, with a positive mean of `metric` and an `stft`."""
    found = []
    for system in evaluation.systems:
        across, quality = evaluation.find(system, metric), evaluation.find(system, TIER_METRIC)
        if system not in CONTROLS and across and quality and across.mean > 0 and math.isfinite(quality.mean):
            found.append((system, across, quality))
    return found


def _coded(evaluation: Evaluation) -> list[Mapping[str, Any]]:
    return [entry for entry in evaluation.corpus if "usage_1" in entry]


def _levels(entry: Mapping[str, Any]) -> list[int]:
    return sorted(int(key.rsplit("_", 1)[1]) for key in entry if key.startswith("usage_"))


def _has_tiers(evaluation: Evaluation) -> bool:
    return any(entry.metric == TIER_METRIC and math.isfinite(entry.mean) for entry in evaluation.summary)


#: Name -> words, figure, whether the rows are enough for it.
_PICTURES: Mapping[str, tuple[str, Callable[[Evaluation], Figure], Callable[[Evaluation], bool]]] = {
    "tiers": ("The mean STFT loss of each system with its interval, on the tiers", tier_figure, _has_tiers),
    "rate": (
        "The STFT loss against kbit/s",
        rate_figure,
        lambda evaluation: len({p[1].mean for p in _points(evaluation, "kbps")}) > 1,
    ),
    "time": (
        "The STFT loss against the time to make the tokens",
        time_figure,
        lambda evaluation: len(_points(evaluation, "rtf")) > 1,
    ),
    "codes": (
        "Share of the codebook used and perplexity, level by level",
        codes_figure,
        lambda evaluation: bool(_coded(evaluation)),
    ),
}
