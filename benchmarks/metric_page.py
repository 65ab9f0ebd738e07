"""The calibration's record as a page and as a picture, for `metric_calibration.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heartopt.evaluation.calibration import MONOTONE
from heartopt.report.figures import need_matplotlib, new_figure, save_figure
from heartopt.report.markdown import escape

COLUMNS = 4
#: Line styles by distortion: eleven colours that differ in lightness too, with marks of their own.
STYLES = {
    "noise": ("#000000", "o"), "lowpass": ("#1f77b4", "s"), "mp3": ("#d62728", "^"), "opus": ("#ff7f0e", "v"),
    "quantization": ("#7f7f7f", "D"), "clipping": ("#8c564b", "P"), "shift": ("#2ca02c", ">"), "gain": ("#17becf", "<"),
    "narrowing": ("#bcbd22", "p"), "shimmer": ("#9467bd", "*"), "other_song": ("#e377c2", "X"),
}  # fmt: skip
_DIRECTIONS = {"lower": "lower", "higher": "higher", "zero": "nearer 0", None: "–"}


def page(record: Mapping[str, Any]) -> str:
    """The reference table of metrics, the correlations and the distortions, in Markdown."""
    settings = record["settings"]
    parts = [
        "# Metrics: what each one measures, sees and does not see",
        "Written by `python benchmarks/metric_calibration.py --output reports`: regenerate it, do not edit it.",
        "![A panel for each metric, a line for each distortion](metrics.png)",
        f"Measured on {settings['seconds']:g} s of each of {', '.join(settings['excerpts'])}. In the picture the "
        "distortions grow from left (none) to right (the strongest); thick lines are what a metric is meant to see.",
        "## Reference",
        "*Another song* is the value of a wholly different song at the same level. Metrics in *italics* are measured "
        "only where they are asked for by name; `fad` is one figure of a whole suite.",
        _reference(record),
        "## Spearman's correlation of worsening with strength",
        "1.00 says: the stronger the distortion, the worse the value, without exception; the undistorted recording "
        "counts as strength 0. Means over the excerpts. **Bold** is what a metric is meant to see (at least "
        f"{MONOTONE}); a dot is a metric that moves by no more than its tolerance.",
        _correlations(record),
        *_exceptions(record),
        "## Distortions",
        _distortions(record),
        "## Other quantities of a report",
        "Of codes, of cost and of a whole suite. Those without a better direction describe: no value of them is a sign "
        "of quality.",
        _others(record),
    ]
    return "\n\n".join(parts) + "\n"


def _table(headings: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (headings, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(headings), *lines[1:]])


def _curves(record: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(curve["metric"], curve["distortion"]): curve for curve in record["curves"]}


def _reference(record: Mapping[str, Any]) -> str:
    curves = _curves(record)
    rows = []
    for name, metric in record["metrics"].items():
        curve = curves.get((name, "other_song"))
        rows.append(
            [
                f"`{name}`" if metric["default"] else f"*`{name}`*",
                _text(metric["about"]),
                metric["unit"] or "–",
                _DIRECTIONS[metric["better"]],
                _text(metric["range"]),
                _number(curve["values"][-1] if curve else None, metric["decimals"]),
                _text(metric["source"]),
                _sees(metric["sees"], list(record["distortions"])),
                _text(metric["blind"]) or "–",
            ]
        )
    headings = ["metric", "what it is", "unit", "better", "range", "another song", "source", "sees", "blind to"]
    return _table(headings, rows)


def _sees(sees: list[str], kinds: list[str]) -> str:
    """Names, or the fewer names that are missing."""
    missing = [kind for kind in kinds if kind not in sees]
    if not missing:
        return "all"
    return ("all but " + ", ".join(missing)) if len(missing) < 4 else ", ".join(sees) or "–"


def _correlations(record: Mapping[str, Any]) -> str:
    curves = _curves(record)
    rows = []
    for name, metric in record["metrics"].items():
        cells = [_correlation(curves.get((name, kind)), metric, kind) for kind in record["distortions"]]
        rows.append([f"`{name}`", *cells])
    return _table(["metric", *record["distortions"]], rows)


def _correlation(curve: Mapping[str, Any] | None, metric: Mapping[str, Any], kind: str) -> str:
    if curve is None:
        return ""
    moved = max((abs(worse) for worse in curve["worsening"] if worse is not None), default=0)
    if curve["spearman"] is None or moved <= metric["tolerance"]:
        return "·"
    text = f"{curve['spearman']:.2f}".replace("-", "−")
    return f"**{text}**" if kind in metric["sees"] else text


def _exceptions(record: Mapping[str, Any]) -> list[str]:
    """What the means hide: an excerpt on which a metric does not follow what it is meant to see."""
    found = [
        f"`{name}` on `{kind}` ({_number(curve['lowest'], 2)})"
        for (name, kind), curve in _curves(record).items()
        if kind in record["metrics"][name]["sees"] and (curve["lowest"] or 0) < MONOTONE
    ]
    return [f"On one excerpt alone the correlation is below {MONOTONE}: {', '.join(found)}."] if found else []


def _distortions(record: Mapping[str, Any]) -> str:
    rows = [
        [f"`{name}`", escape(kind["about"]), kind["unit"] or "–", ", ".join(f"{s:g}" for s in kind["strengths"])]
        for name, kind in record["distortions"].items()
    ]
    return _table(["distortion", "what it does", "unit", "strengths, from the gentlest on"], rows)


def _others(record: Mapping[str, Any]) -> str:
    rows = [
        [f"`{name}`", _text(known["about"]), known["unit"] or "–", _DIRECTIONS[known["better"]]]
        for name, known in record["quantities"].items()
    ]
    return _table(["quantity", "what it is", "unit", "better"], rows)


def _text(text: str) -> str:
    """Escaped but for the metrics' and packages' names in backticks."""
    return escape(text).replace("\\`", "`")


def _number(value: float | None, decimals: int) -> str:
    if value is None:
        return "–"
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")  # + 0.0: no minus before a zero


def draw(record: Mapping[str, Any], path: Path) -> None:
    """A panel a metric, a line a distortion. Raises HeartoptError without matplotlib, OutputError."""
    need_matplotlib("the metrics' curves")
    names, curves = list(record["metrics"]), _curves(record)
    rows = math.ceil((len(names) + 1) / COLUMNS)  # one place for the legend
    figure = new_figure(3.6 * COLUMNS, 2.5 * rows, "What each metric sees: its value as distortions grow")
    panels = figure.subplots(rows, COLUMNS).ravel()
    for panel, name in zip(panels, names, strict=False):
        metric = record["metrics"][name]
        for kind in record["distortions"]:
            if curve := curves.get((name, kind)):
                _line(panel, kind, curve, meant=kind in metric["sees"])
        panel.set_title(metric["heading"], fontsize=11, fontweight="bold" if metric["default"] else "normal")
        panel.set_xticks([0, 0.5, 1], ["none", "", "strongest"], fontsize=8)
        panel.tick_params(axis="y", labelsize=8)
        panel.margins(x=0.03)
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(names) :]:
        panel.axis("off")
    _legend(panels[-1])
    save_figure(figure, path)


def _line(panel: Any, kind: str, curve: Mapping[str, Any], *, meant: bool) -> None:
    colour, mark = STYLES[kind]
    values = [math.nan if value is None else value for value in (curve["identity"], *curve["values"])]
    places = [place / (len(values) - 1) for place in range(len(values))]
    look: dict[str, Any] = (
        {"linewidth": 1.8, "marker": mark, "markersize": 4, "zorder": 3}
        if meant
        else {"linewidth": 0.9, "linestyle": (0, (3, 2)), "alpha": 0.7, "zorder": 2}
    )
    panel.plot(places, values, color=colour, **look)


def _legend(panel: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=mark, linewidth=1.8, markersize=5, label=kind.replace("_", " "))
        for kind, (colour, mark) in STYLES.items()
    ]
    handles.append(Line2D([], [], color="black", linewidth=0.9, linestyle=(0, (3, 2)), label="not meant to be seen"))
    look: dict[str, Any] = {"loc": "center", "ncols": 2, "fontsize": 9, "frameon": False, "columnspacing": 1.0}
    panel.legend(handles=handles, title="distortion", **look)
