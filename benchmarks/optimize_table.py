"""The tables of `optimize.py`: finished rows -> JSON; the CSV, the Markdown and the pictures follow from it alone."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from optimize_figures import (
    BEST,
    CEILING,
    FROM_ZERO,
    METRICS,
    MISSING,
    NOT_RUN,
    ORACLE,
    PROJECTION,
    REPORT,
    REPORT_IN_LOOP,
    STANDARD,
    Json,
    Results,
    draw_excerpts,
    draw_time,
    excerpts,
    interval,
    number,
    percent,
    score,
    share,
    signed,
    t_interval,
    table,
    time,
    time_picture,
    together,
)

from heartopt.errors import ConfigError
from heartopt.evaluation import tier
from heartopt.evaluation.statistics import Interval, mean_interval, paired_difference
from heartopt.evaluation.systems import CONTROLS
from heartopt.files import plain, write_text

LETTERS = {REPORT: "a", REPORT_IN_LOOP: "b", PROJECTION: "c", ORACLE: "d", CEILING: "e"}
#: What was asked for: shares of the report's metrics, of the way from the oracle to the ceiling, and of its time.
LOWER, SHARES, TIMES = 0.20, {STANDARD: 0.70, BEST: 0.85}, 50.0
COMMAND = """python benchmarks/build_suite.py benchmarks/suites/optimize.yaml
python benchmarks/optimize.py run benchmarks/recipes/optimize.yaml --output work/optimize
python benchmarks/optimize.py summarize benchmarks/recipes/optimize.yaml --output work/optimize --report reports"""


def write_tables(recipe: dict[str, Any], rows: list[dict[str, Any]], folder: Path) -> None:
    """Write NAME.json, NAME.csv, NAME.md and the pictures of what is finished. Raises ConfigError if nothing is."""
    if not rows:
        raise ConfigError("there are no finished rows yet: run the benchmark first")
    name, kept = recipe["name"], rounded(plain(rows))
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in kept)
    head = json.dumps({"name": name, "command": COMMAND, "recipe": plain(recipe)}, ensure_ascii=False, indent=2)
    write_text(folder / f"{name}.json", head.removesuffix("\n}") + f',\n  "rows": [\n{lines}\n]\n}}\n')
    write_text(folder / f"{name}.csv", csv_text(kept))
    write_text(folder / f"{name}.md", page(recipe, kept))
    results = Results(recipe, kept)
    draw_time(folder / f"{name}_time.png", time_picture(results), TIMES)
    shown = (ORACLE, REPORT, PROJECTION, STANDARD, BEST, CEILING)
    draw_excerpts(folder / f"{name}_excerpts.png", {system: results.values(system, "stft") for system in shown})


def rounded(obj: Any) -> Any:
    """With every float to six significant digits."""
    if isinstance(obj, float):
        return float(f"{obj:.6g}")
    if isinstance(obj, dict):
        return {key: rounded(value) for key, value in obj.items()}
    return [rounded(value) for value in obj] if isinstance(obj, list) else obj


def csv_text(rows: Sequence[Json]) -> str:
    """One line for each system (or ablation) and excerpt: mean and standard deviation over its seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    metrics = (*METRICS, "shimmer_db")
    columns = [f"{metric}_{figure}" for metric in metrics for figure in ("mean", "sd")]
    writer.writerow(["group", "system", "excerpt", "audio_seconds", "wall", "seeds", *columns])
    for row in rows:
        cells = [row["group"] or "", row["system"], row["excerpt"], row["audio_seconds"], row["wall"]]
        cells.append(len(row["scores"]))
        for metric in metrics:
            known = [entry[metric] for entry in row["scores"] if entry[metric] is not None]
            cells += [f"{mean(known):.5f}" if known else "", f"{stdev(known):.5f}" if len(known) > 1 else ""]
        writer.writerow(cells)
    return text.getvalue()


def page(recipe: Json, rows: Sequence[Json]) -> str:
    """The whole page, as Markdown."""
    results, name = Results(recipe, rows), recipe["name"]
    picture = time_picture(results)
    parts = [
        "# `heartopt optimize`: quality and cost",
        "Written by `benchmarks/optimize.py summarize` from the JSON beside it: regenerate it, do not edit it.",
        f"```sh\n{COMMAND}\n```",
        _head(results, rows),
        *_notes(results),
        "## Systems",
        _main_table(results),
        _main_words(results),
        "## Goals",
        "\n".join(f"- {line}" for line in goals(results)),
        _speed_table(results),
        "## Quality against time",
        f"![STFT and mel over seconds for a second of audio]({name}_time.png)",
        f"Means over the {excerpts(picture.excerpts)} that everything drawn here has; seconds are medians. "
        "The report's steps before its last were decoded under the first seed alone.",
        "## Each excerpt",
        _excerpt_table(results),
        _excerpt_words(results),
        f"![STFT of each excerpt]({name}_excerpts.png)",
        "## Ablations",
        f"The first {recipe['ablation_seconds']:g} s of at most {recipe['ablation_excerpts']} excerpts. Each row "
        "changes what it says of its group's base. Differences are from the base, on the same excerpts [95 % interval, "
        "Student's t]; below zero is better. Seconds: the median ratio to the base on the same excerpt.",
        *(part for group in recipe["ablations"] for part in _ablation(results, group)),
    ]
    return "\n\n".join(parts) + "\n"


def _head(results: Results, rows: Sequence[Json]) -> str:
    whole = [row for row in rows if row["group"] is None]
    lengths = sorted({round(row["audio_seconds"], 2) for row in whole})
    span = " to ".join(f"{length:g}" for length in lengths[:: max(1, len(lengths) - 1)])
    machines = []
    for row in rows:
        made = row["machine"]
        text = f"{made['cores']} cores ({made['processor']}), threads {made['torch_threads']}, torch {made['torch']}"
        machines.append(f"{text}, Python {made['python']}, heartopt {made['heartopt']}")
    return (
        "How good the tokens of `heartopt optimize` are and how long they take, beside those of the training report's "
        f"per-file method and of every other encoder. {excerpts(len({row['excerpt'] for row in whole}))} of {span} s "
        f"(suite `{Path(results.recipe['suite']).stem}`), embedded codec; tokens decoded with 10 Euler steps and "
        f"guidance 1.25 under the seeds {', '.join(map(str, results.recipe['seeds']))}: nothing was fitted or chosen "
        f"under these. Lower is better. Measured on: {'; '.join(sorted(set(machines)))}."
    )


def _notes(results: Results) -> Iterator[str]:
    """What of the rows does not fit the recipe."""
    unknown, others = results.misfits()
    if unknown:
        yield f"In the rows but not in the recipe, so not below: {', '.join(unknown)}."
    if others:
        yield f"**Made with other settings or seeds than the recipe's: {', '.join(others)}.**"


def _main_table(results: Results) -> str:
    heads = ["system", "n", "STFT", "mel", "shimmer (dB)", "tier", "s / s of audio"]
    rows = [[*heads, "of the way (d) to (e), STFT", "the same, mel"]]
    for system in results.systems:
        found = results.values(system, "stft")
        if not found:
            rows.append([_label(system), NOT_RUN, *[MISSING] * 7])
            continue
        figures = [mean_interval(list(results.values(system, m).values())) for m in (*METRICS, "shimmer_db")]
        makes_tokens = system not in (*CONTROLS, CEILING)
        pace = time(median(results.pace(system).values())) if makes_tokens else MISSING
        shares = [results.share(system, ORACLE, metric) for metric in METRICS]
        closed = [percent(one, len(found)) for one in shares] if makes_tokens and system != ORACLE else [MISSING] * 2
        cells = [*(interval(one) for one in figures[:2]), f"{figures[2].mean:.2f}", tier(figures[0].mean), pace]
        rows.append([_label(system), str(len(found)), *cells, *closed])
    return table(rows)


def _main_words(results: Results) -> str:
    counts = {len(results.of(system)) for system in results.systems if results.of(system)}
    uneven = " **Means of different n are of different excerpts: only the shares and the goals compare the same ones.**"
    settings = "; ".join(f"`{name}`: {_settings(given)}" for name, given in results.recipe["systems"].items())
    return (
        "(a) the training report's method, codes rounded at the end; (b) the same, rounded in every step; (c) the "
        "projection, which `optimize` starts from; (d) the codec's own, withheld encoder; (e) the waveform coder "
        "without tokens, the ceiling. Means over excerpts [95 % bootstrap interval, excerpts drawn with replacement], "
        "each excerpt a mean over the seeds; the tier is that of the mean STFT. Seconds: the median of making the "
        "tokens, encoding included; (a), (b): of their steps alone. Share of the way: ratio of the mean differences, "
        "over the excerpts that have all three (n where these are fewer). Settings: "
        f"{settings}." + (uneven if len(counts) > 1 else "")
    )


def goals(results: Results) -> Iterator[str]:
    """Each goal as a sentence with what was measured."""
    for metric, word in METRICS.items():
        asked = f"`{STANDARD}` at least {100 * LOWER:.0f} % below (a) in {word}"
        yield f"{asked}: {_closes(results, (STANDARD, REPORT), metric, LOWER)}."
    for metric, word in METRICS.items():
        ours, theirs = together(*(results.values(name, metric) for name in (STANDARD, ORACLE)))
        found = paired_difference(ours, theirs)
        verdict = "met" if found.mean < 0 else f"missed by {found.mean:.3f}"
        measured = f"{signed(found)} ({_means((STANDARD, ORACLE), (ours, theirs))}): **{verdict}**{_across(found, 0)}"
        measured = measured if ours else f"cannot be said, {results.missing(STANDARD, ORACLE)}"
        yield f"`{STANDARD}` below (d), the withheld encoder, in {word}: {measured}."
    for (system, least), (metric, word) in product(SHARES.items(), METRICS.items()):
        asked = f"`{system}` closes at least {100 * least:.0f} % of the way from (d) to (e) in {word}"
        yield f"{asked}: {_closes(results, (system, ORACLE, CEILING), metric, least)}."
    for system in (PROJECTION, FROM_ZERO):
        asked = f"`{system}` reaches the STFT of (a) in at most 1/{TIMES:g} of its time"
        yield f"{asked}: {_reaches(results, system)}."


def _closes(results: Results, systems: Sequence[str], metric: str, least: float) -> str:
    """Whether a system closes so much of the way from the second to the third; to zero where there is none."""
    values = [results.values(name, metric) for name in systems]
    found = share(*values, *([dict.fromkeys(values[1], 0.0)] if len(values) == 2 else []))
    if math.isnan(found.mean):
        return f"cannot be said, {results.missing(*systems)}"
    verdict = "met" if found.mean >= least else f"missed by {100 * (least - found.mean):.1f} points"
    return f"{percent(found)} ({_means(systems, together(*values))}): **{verdict}**{_across(found, least)}"


def _means(systems: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    means = [f"`{name}` {mean(one):.3f}" for name, one in zip(systems, values, strict=True) if one]
    return f"{', '.join(means)}, n {len(values[0])}"


def _across(found: Interval, border: float) -> str:
    return "; the interval reaches across this border" if found.low < border < found.high else ""


def _reaches(results: Results, system: str) -> str:
    """Whether a system is as good as the report's way in so small a part of its time: in the mean, and everywhere."""
    race = results.race(system)
    if not race:
        return f"cannot be said, {results.missing(REPORT, system)}"
    above, ratios = zip(*race.values(), strict=True)
    late = [name for name, (more, ratio) in race.items() if more > 0 or ratio < TIMES]
    short = [f"{mean(above):.3f} in mean STFT"] if mean(above) > 0 else []
    short += [f"a factor of {TIMES / median(ratios):.2f} in median time"] if median(ratios) < TIMES else []
    verdict = f"missed by {' and by '.join(short)}" if short else "met in the mean" if late else "met on every excerpt"
    where = f"; not on {len(late)} of {len(race)} excerpts ({', '.join(late)})" if late else ""
    return (
        f"at or below it on {sum(more <= 0 for more in above)} of {len(race)} excerpts (mean {mean(above):+.3f}, worst "
        f"{max(above):+.3f}), {time(median(ratios))} times as fast in the median, {time(min(ratios))} in the worst "
        f"case: **{verdict}**{where}"
    )


def _speed_table(results: Results) -> str:
    """STFT and time of the report's way, and how the fast ones compare, an excerpt a row."""
    rows = [["excerpt", "(a) STFT", "(a) s"]]
    races = {name: results.race(name) for name in (PROJECTION, FROM_ZERO)}
    for name in races:
        rows[0] += [f"{name}: STFT", "at or below", "times as fast"]
    for excerpt, row in results.of(REPORT).items():
        cells = [excerpt, f"{score(row['scores'], 'stft'):.3f}", time(row["wall"])]
        for name, race in races.items():
            if excerpt not in race:
                cells += [MISSING] * 3
                continue
            more, ratio = race[excerpt]
            cells += [number(results.values(name, "stft")[excerpt]), "yes" if more <= 0 else "no", time(ratio)]
        rows.append(cells)
    return table(rows) if len(rows) > 1 else f"The report's way was {NOT_RUN}: no times to compare."


def _excerpt_table(results: Results) -> str:
    shown, closed = (PROJECTION, *SHARES, CEILING), results.closed(SHARES)
    rows = [["excerpt", *(f"STFT {name}" for name in shown), *(f"{n} closes, {METRICS[m]}" for n, m in closed)]]
    values = {system: results.values(system, "stft") for system in shown}
    names = sorted({name for found in values.values() for name in found})
    for excerpt in names:
        own = (number(found.get(excerpt, math.nan)) for found in values.values())
        rows.append(
            [excerpt, *own, *(percent(found[excerpt]) if excerpt in found else MISSING for found in closed.values())]
        )
    means = (number(mean_interval(list(found.values())).mean) for found in values.values())
    shares = (percent(results.share(system, PROJECTION, metric), len(names)) for system, metric in closed)
    rows.append(["**all**", *means, *shares])
    return table(rows)


def _excerpt_words(results: Results) -> str:
    text = (
        "Share of the way from the projection to the ceiling; all: means, and the ratio of mean differences [95 % "
        "bootstrap interval]. Below zero is worse than the projection, under seeds that `optimize` did not see."
    )
    for (system, metric), found in results.closed(SHARES).items():
        worse = [name for name, one in found.items() if one.mean < 0]
        words = f"below zero on {len(worse)} of {len(found)}" + (f" ({', '.join(worse)})" if worse else "")
        text += f" `{system}`, {METRICS[metric]}: {words if found else results.missing(system, PROJECTION, CEILING)}."
    return text


def _ablation(results: Results, group: str) -> Iterator[str]:
    entries = results.recipe["ablations"][group]
    base = next(iter(entries))
    rows = [["change", "n", "STFT", "mel", "STFT less the base's", "mel less the base's", "seconds ÷ base's"]]
    unclear: dict[str, list[str]] = {metric: [] for metric in METRICS}
    for system in entries:
        count = len(results.of(system, group))
        if not count:
            rows.append([system, NOT_RUN, *[MISSING] * 5])
            continue
        means = [number(mean_interval(list(results.values(system, m, group).values())).mean) for m in METRICS]
        differences = []
        for metric in METRICS if system != base else ():
            ours, theirs = together(*(results.values(name, metric, group) for name in (system, base)))
            found = t_interval([one - other for one, other in zip(ours, theirs, strict=True)])
            differences.append(signed(found, count))
            if found.low <= 0 <= found.high:
                unclear[metric].append(system)
        mine, base_wall = together(results.wall(system, group), results.wall(base, group))
        ratio = f"{median(a / b for a, b in zip(mine, base_wall, strict=True)):.2f}" if mine else MISSING
        rows.append([system, str(count), *means, *(differences or [MISSING] * 2), ratio])
    yield f"### {group}"
    yield f"Base: {_settings(entries[base])}."
    yield table(rows)
    words = "; ".join(f"{METRICS[metric]}: `{'`, `'.join(names)}`" for metric, names in unclear.items() if names)
    if words:
        yield f"The interval includes 0, so that no effect is shown. {words}."


def _label(system: str) -> str:
    if system in CONTROLS:
        return f"control: {system}"
    return f"({LETTERS[system]}) {system}" if system in LETTERS else system


def _settings(given: Any) -> str:
    if isinstance(given, Mapping):
        return ", ".join(f"{key} {_settings(value)}" for key, value in given.items())
    return " and ".join(map(str, given)) if isinstance(given, list) else str(given)
