"""The tables of `optimize.py`: finished rows -> JSON; the CSV, the Markdown and the pictures follow from it alone."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
from optimize_figures import Spot, draw_excerpts, draw_time
from train_recipes_table import T_95

from heartopt.errors import ConfigError
from heartopt.evaluation import tier
from heartopt.evaluation.statistics import COVERAGE, RESAMPLES, Interval, mean_interval, paired_difference
from heartopt.evaluation.systems import CONTROLS
from heartopt.files import plain, write_text

REPORT, REPORT_IN_LOOP = "report", "report, rounded in the loop"
PROJECTION, ORACLE, CEILING, RANDOM = "projection", "oracle", "scalar_roundtrip", "random_codes"
LETTERS = {REPORT: "a", REPORT_IN_LOOP: "b", PROJECTION: "c", ORACLE: "d", CEILING: "e"}
STANDARD, BEST, FROM_ZERO = "standard", "best", "flow from zero"
METRICS = {"stft": "STFT", "mel": "mel"}
#: What was asked for: shares of the report's metrics, of the way from the oracle to the ceiling, and of its time.
LOWER, SHARES, TIMES = 0.20, {STANDARD: 0.70, BEST: 0.85}, 50.0
COMMAND = """python benchmarks/build_suite.py benchmarks/suites/optimize.yaml
python benchmarks/optimize.py run benchmarks/recipes/optimize.yaml --output work/optimize
python benchmarks/optimize.py summarize benchmarks/recipes/optimize.yaml --output work/optimize --report reports"""
NOT_RUN, MISSING = "not run", "–"

Json = Mapping[str, Any]
#: A value of each excerpt.
Found = Mapping[str, float]


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
    draw_time(folder / f"{name}_time.png", **time_spots(results))
    shown = (ORACLE, REPORT, PROJECTION, STANDARD, BEST, CEILING)
    draw_excerpts(folder / f"{name}_excerpts.png", {system: results.values(system, "stft") for system in shown})


def rounded(obj: Any) -> Any:
    """With every float to six significant digits."""
    if isinstance(obj, float):
        return float(f"{obj:.6g}")
    if isinstance(obj, dict):
        return {key: rounded(value) for key, value in obj.items()}
    return [rounded(value) for value in obj] if isinstance(obj, list) else obj


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


def csv_text(rows: Sequence[Json]) -> str:
    """One line for each system (or ablation) and excerpt: mean and standard deviation over its seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    named = ("stft", "mel", "shimmer_db")
    columns = [f"{metric}_{figure}" for metric in named for figure in ("mean", "sd")]
    writer.writerow(["group", "system", "excerpt", "audio_seconds", "wall", "seeds", *columns])
    for row in rows:
        known = [[entry[metric] for entry in row["scores"] if entry[metric] is not None] for metric in named]
        cells = [f(v) if len(v) >= n else "" for v in known for n, f in ((1, lambda v: f"{mean(v):.5f}"),
                                                                         (2, lambda v: f"{stdev(v):.5f}"))]  # fmt: skip
        seeds = len(row["scores"])
        ours = [row["group"] or "", row["system"], row["excerpt"], row["audio_seconds"], row["wall"], seeds]
        writer.writerow([*ours, *cells])
    return text.getvalue()


def page(recipe: Json, rows: Sequence[Json]) -> str:
    """The whole page, as Markdown."""
    results, name = Results(recipe, rows), recipe["name"]
    spots = time_spots(results)
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
        f"Means over the {spots['excerpts']} excerpts that all that is drawn have; time is their median. The report's "
        "steps before its last were decoded under the first seed alone.",
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
        f"per-file method and of every other encoder. {len({row['excerpt'] for row in whole})} excerpts of {span} s "
        f"(suite `{Path(results.recipe['suite']).stem}`), embedded codec; tokens decoded with 10 Euler steps and "
        f"guidance 1.25 under the seeds {', '.join(map(str, results.recipe['seeds']))}: nothing was fitted or chosen "
        f"under these. Lower is better. Measured on: {'; '.join(sorted(set(machines)))}."
    )


def _notes(results: Results) -> Iterator[str]:
    """What of the rows does not fit the recipe."""
    recipe, unknown, others = results.recipe, [], []
    for (group, system), found in sorted(results.rows.items(), key=str):
        label = f"`{system}`" if group is None else f"`{group}`: `{system}`"
        entries = recipe["systems"] if group is None else recipe["ablations"].get(group, {})
        if system not in entries and (group is not None or system not in results.systems):
            unknown.append(label)
            continue
        wanted = dict(entries.get(system, {}))
        wanted = wanted if group is None else {**next(iter(entries.values())), **wanted}
        seeds = ([None], list(recipe["seeds"]))
        if any(row["settings"] != wanted or [s["seed"] for s in row["scores"]] not in seeds for row in found.values()):
            others.append(label)
    if unknown:
        yield f"In the rows but not in the recipe, so not below: {', '.join(unknown)}."
    if others:
        yield f"**Made with other settings or seeds than the recipe's: {', '.join(others)}.**"


def _main_table(results: Results) -> str:
    rows = [["system", "n", "STFT", "mel", "shimmer (dB)", "tier", "s / s of audio",
             "of the way (d) to (e), STFT", "mel"]]  # fmt: skip
    for system in results.systems:
        found = results.values(system, "stft")
        if not found:
            rows.append([_label(system), NOT_RUN, *[MISSING] * 7])
            continue
        figures = [mean_interval(list(results.values(system, m).values())) for m in (*METRICS, "shimmer_db")]
        makes_tokens = system not in (*CONTROLS, CEILING)
        pace = _time(median(results.pace(system).values())) if makes_tokens else MISSING
        shares = [results.share(system, ORACLE, metric) for metric in METRICS]
        closed = [_percent(one, len(found)) for one in shares] if makes_tokens and system != ORACLE else [MISSING] * 2
        cells = [*(_interval(one) for one in figures[:2]), f"{figures[2].mean:.2f}", tier(figures[0].mean), pace]
        rows.append([_label(system), str(len(found)), *cells, *closed])
    return _table(rows)


def _main_words(results: Results) -> str:
    counts = {len(results.of(system)) for system in results.systems if results.of(system)}
    uneven = " **Means of different n are of different excerpts: only the shares and the goals compare the same ones.**"
    settings = "; ".join(f"`{name}`: {_settings(given)}" for name, given in results.recipe["systems"].items())
    return (
        "(a) the training report's method, codes rounded at the end; (b) the same, rounded in every step; (c) the "
        "projection, which `optimize` starts from; (d) the codec's own, withheld encoder; (e) the waveform coder "
        "without tokens, the ceiling. Means over excerpts [95 % bootstrap interval, excerpts drawn with replacement], "
        "each excerpt a mean over the seeds; the tier is that of the mean STFT; time is the median. Share of the way: "
        "ratio of the mean differences, over the excerpts that have all three (n where these are fewer). Settings: "
        f"{settings}." + (uneven if len(counts) > 1 else "")
    )


def goals(results: Results) -> Iterator[str]:
    """Each goal as a sentence with what was measured."""
    nothing = dict.fromkeys(results.of(REPORT), 0.0)
    for metric, word in METRICS.items():
        ours, theirs = (results.values(name, metric) for name in (STANDARD, REPORT))
        asked = f"`standard` at least {LOWER:.0%} below (a) in {word}".replace("%", " %")
        found = share(ours, theirs, nothing)
        yield f"{asked}: {_reached(results, found, LOWER, (STANDARD, REPORT), together(ours, theirs))}."
    for metric, word in METRICS.items():
        ours, theirs = together(*(results.values(name, metric) for name in (STANDARD, ORACLE)))
        asked = f"`standard` below (d), the withheld encoder, in {word}"
        if not ours:
            yield f"{asked}: cannot be said, {results.missing(STANDARD, ORACLE)}."
            continue
        found = paired_difference(ours, theirs)
        word = "met" if found.mean < 0 else f"missed by {found.mean:.3f}"
        against = f"{mean(ours):.3f} against {mean(theirs):.3f}, n {found.count}"
        yield f"{asked}: {_signed(found)} ({against}): **{word}**."
    for system, least in SHARES.items():
        for metric, word in METRICS.items():
            asked = f"`{system}` closes at least {100 * least:.0f} % of the way from (d) to (e) in {word}"
            three = [results.values(name, metric) for name in (system, ORACLE, CEILING)]
            found = share(*three)
            yield f"{asked}: {_reached(results, found, least, (system, ORACLE, CEILING), together(*three))}."
    for system in (PROJECTION, FROM_ZERO):
        yield _fast(results, system)


def _reached(
    results: Results, found: Interval, least: float, systems: Sequence[str], values: Sequence[Sequence[float]]
) -> str:
    if math.isnan(found.mean):
        return f"cannot be said, {results.missing(*systems)}"
    word = "met" if found.mean >= least else f"missed by {100 * (least - found.mean):.1f} points"
    across = "; the interval has both sides of it" if found.low < least <= found.high else ""
    means = ", ".join(f"`{name}` {mean(one):.3f}" for name, one in zip(systems, values, strict=True))
    return f"{_percent(found)} ({means}, n {found.count}): **{word}**{across}"


def _race(results: Results, system: str) -> dict[str, tuple[float, float]]:
    """Of each excerpt that both have: STFT less that of the report's way; how many times as long that takes."""
    both = [(results.values(name, "stft"), results.wall(name)) for name in (REPORT, system)]
    (theirs, long), (ours, short) = both
    return {name: (ours[name] - theirs[name], long[name] / short[name]) for name in theirs if name in ours}


def _fast(results: Results, system: str) -> str:
    asked = f"`{system}` reaches the STFT of (a) in at most 1/{TIMES:g} of its time"
    race = _race(results, system)
    if not race:
        return f"{asked}: cannot be said, {results.missing(REPORT, system)}."
    above, ratios = [pair[0] for pair in race.values()], [pair[1] for pair in race.values()]
    late = [name for name, (more, ratio) in race.items() if more > 0 or ratio < TIMES]
    short = [f"{mean(above):.3f} in mean STFT"] if mean(above) > 0 else []
    short += [f"a factor of {TIMES / median(ratios):.2f} in median time"] if median(ratios) < TIMES else []
    word = "met on every excerpt"
    if late:
        word = f"missed by {' and by '.join(short)}" if short else "met in the mean"
        word += f", missed on {len(late)} of {len(race)} excerpts ({', '.join(late)})"
    reached = sum(more <= 0 for more in above)
    return (
        f"{asked}: at or below it on {reached} of {len(race)} excerpts (mean {mean(above):+.3f}, worst "
        f"{max(above):+.3f}), {median(ratios):,.0f} times as fast in the median, {min(ratios):,.0f} in the worst "
        f"case: **{word}**."
    )


def _speed_table(results: Results) -> str:
    """STFT and time of the report's way, and how the fast ones compare, an excerpt a row."""
    rows = [["excerpt", "(a) STFT", "(a) s"]]
    races = {name: _race(results, name) for name in (PROJECTION, FROM_ZERO)}
    for name in races:
        rows[0] += [f"{name}: STFT", "reached", "times as fast"]
    for excerpt, row in results.of(REPORT).items():
        cells = [excerpt, f"{score(row['scores'], 'stft'):.3f}", _time(row["wall"])]
        for name, race in races.items():
            known = excerpt in race
            more, ratio = race.get(excerpt, (math.nan, math.nan))
            own = f"{results.values(name, 'stft')[excerpt]:.3f}" if known else MISSING
            cells += [own, "yes" if more <= 0 else "no", f"{ratio:,.0f}"] if known else [MISSING] * 3
        rows.append(cells)
    return _table(rows) if len(rows) > 1 else f"The report's way was {NOT_RUN}: no times to compare."


def _closed(results: Results) -> dict[tuple[str, str], dict[str, Interval]]:
    """Share of the way from the projection to the ceiling, excerpt by excerpt."""
    found = {}
    for system in SHARES:
        for metric in METRICS:
            three = [results.values(name, metric) for name in (system, PROJECTION, CEILING)]
            found[system, metric] = {name: share(*({name: one[name]} for one in three if name in one))
                                     for name in three[0] if all(name in one for one in three)}  # fmt: skip
    return found


def _excerpt_table(results: Results) -> str:
    shown, closed = (PROJECTION, *SHARES, CEILING), _closed(results)
    rows = [["excerpt", *(f"STFT {name}" for name in shown), *(f"{n} closes, {METRICS[m]}" for n, m in closed)]]
    values = {system: results.values(system, "stft") for system in shown}
    for excerpt in sorted({name for found in values.values() for name in found}):
        own = (values[system].get(excerpt, math.nan) for system in shown)
        parts = (found[excerpt] if excerpt in found else None for found in closed.values())
        rows.append([excerpt, *(map(_number, own)), *(MISSING if one is None else _percent(one) for one in parts)])
    means = [_number(mean_interval(list(found.values())).mean) for found in values.values()]
    counts = [len(values[system]) for system in shown]
    shares = [_percent(results.share(system, PROJECTION, metric), counts[0]) for system, metric in closed]
    rows.append(["**all**", *means, *shares])
    return _table(rows)


def _excerpt_words(results: Results) -> str:
    text = (
        "Share of the way from the projection to the ceiling; all: means, and the ratio of mean differences [95 % "
        "bootstrap interval]. Below zero is worse than the projection, under seeds that `optimize` did not see."
    )
    for (system, metric), found in _closed(results).items():
        worse = [name for name, one in found.items() if one.mean < 0]
        text += f" `{system}`, {METRICS[metric]}: " + (
            f"below zero on {len(worse)} of {len(found)} ({', '.join(worse)})." if worse
            else f"below zero on none of {len(found)}." if found else f"{NOT_RUN}.")  # fmt: skip
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
        means = [_number(mean_interval(list(results.values(system, m, group).values())).mean) for m in METRICS]
        differences = []
        for metric in METRICS if system != base else ():
            ours, theirs = together(*(results.values(name, metric, group) for name in (system, base)))
            found = t_interval([one - other for one, other in zip(ours, theirs, strict=True)])
            differences.append(_signed(found, count))
            if found.low <= 0 <= found.high:
                unclear[metric].append(system)
        mine, base_wall = together(results.wall(system, group), results.wall(base, group))
        ratio = f"{median(a / b for a, b in zip(mine, base_wall, strict=True)):.2f}" if mine else MISSING
        rows.append([system, str(count), *means, *(differences or [MISSING] * 2), ratio])
    yield f"### {group}"
    yield f"Base: {_settings(entries[base])}."
    yield _table(rows)
    words = "; ".join(f"{METRICS[metric]}: {', '.join(names)}" for metric, names in unclear.items() if names)
    if words:
        yield f"The interval includes 0, so that no effect is shown. {words}."


def time_spots(results: Results) -> dict[str, Any]:
    """What `draw_time` draws: means over the excerpts that all of it have."""
    moving = [name for name in (PROJECTION, *results.recipe["systems"], REPORT) if results.of(name)]
    still = [name for name in (ORACLE, CEILING, RANDOM) if results.of(name)]
    common = set.intersection(*(set(results.of(name)) for name in (*moving, *still))) if moving + still else set()
    pointed = {name for name, row in results.of(REPORT).items() if row.get("points")} & common
    common = pointed or common
    chosen = {name: [results.of(name)[excerpt] for excerpt in sorted(common)] for name in (*moving, *still)}
    spots = {name: _spot([(row["wall"], row) for row in rows]) for name, rows in chosen.items() if rows}
    by_step: dict[int, list[tuple[float, Json]]] = {}
    for row in chosen.get(REPORT, ()):
        for point in row.get("points", ()):
            by_step.setdefault(point["step"], []).append((point["wall"], {**row, "scores": point["scores"]}))
    steps = [_spot(found) for _, found in sorted(by_step.items()) if len(found) == len(common)]
    return {
        "systems": {name: spots[name] for name in moving if name in spots},
        "steps": steps,
        "lines": {name: spots[name] for name in still if name in spots},
        "excerpts": len(common),
        "fraction": TIMES,
    }


def _spot(found: Sequence[tuple[float, Json]]) -> Spot:
    pace = median(wall / row["audio_seconds"] for wall, row in found)
    return Spot(pace, *(mean(score(row["scores"], metric) for _, row in found) for metric in METRICS))


def _label(system: str) -> str:
    if system in CONTROLS:
        return f"control: {system}"
    return f"({LETTERS[system]}) {system}" if system in LETTERS else system


def _settings(given: Json) -> str:
    return ", ".join(f"{key} {_settings(value) if isinstance(value, Mapping) else value}" for key, value in given.items())


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]])


def _number(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.3f}"


def _interval(found: Interval) -> str:
    bounds = "" if math.isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]"
    return _number(found.mean) + bounds


def _signed(found: Interval, expected: int | None = None) -> str:
    if math.isnan(found.mean):
        return MISSING
    bounds = "" if math.isnan(found.low) else f" [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{found.mean:+.3f}{bounds}" + ("" if expected in (None, found.count) else f" (n {found.count})")


def _percent(found: Interval, expected: int | None = None) -> str:
    if math.isnan(found.mean):
        return MISSING
    bounds = "" if math.isnan(found.low) else f" [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"{100 * found.mean:.1f} %{bounds}" + ("" if expected in (None, found.count) else f" (n {found.count})")


def _time(seconds: float) -> str:
    return f"{seconds:,.{0 if seconds >= 100 else 1 if seconds >= 10 else 2 if seconds >= 1 else 3}f}"
