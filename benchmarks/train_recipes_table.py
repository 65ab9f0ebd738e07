"""The table of `train_recipes.py`: finished runs -> JSON; the CSV and the Markdown follow from the JSON alone."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heartopt.errors import ConfigError
from heartopt.evaluation.statistics import COVERAGE, RESAMPLES, mean_interval
from heartopt.evaluation.systems import CONTROLS
from heartopt.files import write_json, write_text
from heartopt.metrics import TIER_METRIC, tier

if TYPE_CHECKING:
    from train_recipes import Recipes

#: Columns that describe the codes, beside the metrics.
CODES = ("usage", "perplexity")
_DECIMALS = {"stft": 3, "mel": 3, "flow": 4, "usage": 3, "perplexity": 1}
MISSING = "–"
#: Student's t for 95 % intervals of so many values; of more, the last one is wide enough.
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}

Json = Mapping[str, Any]


def write_tables(recipes: Recipes, output: Path, folder: Path, *, command: str) -> tuple[Path, Path, Path]:
    """Write NAME.json, NAME.csv and NAME.md of what is finished in `output`. Raises ConfigError if nothing is."""
    runs = []
    for name in recipes.changes:
        for path in sorted((output / name).glob("seed*/result.json")):
            runs.append(json.loads(path.read_text(encoding="utf-8")))
    baselines_path = output / "baselines.json"
    if not runs or not baselines_path.is_file():
        raise ConfigError(f"{output}: no finished runs of {', '.join(recipes.changes)}; run them first")
    baselines = json.loads(baselines_path.read_text(encoding="utf-8"))
    record = tabulate(recipes, runs, baselines, command=command)
    paths = tuple(folder / f"{recipes.name}.{ending}" for ending in ("json", "csv", "md"))
    write_json(paths[0], record)
    record = json.loads(paths[0].read_text(encoding="utf-8"))
    write_text(paths[1], csv_text(record))
    write_text(paths[2], markdown(record))
    return paths[0], paths[1], paths[2]


def tabulate(recipes: Recipes, runs: Sequence[Json], baselines: Json, *, command: str) -> dict[str, Any]:
    """All that the table says: rows, means with intervals, differences from the default, how it was made."""
    metrics = (*recipes.metrics, *CODES)
    rows = [
        {"recipe": run["recipe"], "seed": run["seed"], **{k: v for k, v in row.items() if k != "system"}}
        for run in runs
        for row in run["rows"]
    ]
    finished = [name for name in recipes.changes if any(run["recipe"] == name for run in runs)]
    grids = {name: {metric: grid(rows, name, metric) for metric in metrics} for name in finished}
    default = next(iter(recipes.changes))
    entries = []
    for name in finished:
        own = [run for run in runs if run["recipe"] == name]
        steps = [run["step_seconds"] for run in own if run["step_seconds"] is not None]
        entries.append(
            {
                "recipe": name,
                "changes": recipes.changes[name],
                "settings": own[0]["settings"],
                "seeds": [run["seed"] for run in own],
                "step_seconds": float(np.median(steps)) if steps else None,
                "flow": _over_seeds([run["flow"] for run in own]),
                **{metric: interval(grids[name][metric]) for metric in metrics},
                "differences": _differences(grids, name, default, recipes.metrics, runs),
                "same_crop": (twin := _same_crop(recipes, name)),
                "same_crop_differences": _differences(grids, name, twin, recipes.metrics, runs),
            }
        )
    return {
        "name": recipes.name,
        "about": recipes.about,
        "command": command,
        "default": default,
        "base": recipes.base,
        "metrics": list(recipes.metrics),
        "held_out": {"crops": recipes.held_out_crops, "seconds": recipes.held_out_seconds},
        "judging": baselines["judging"],
        "machine": runs[0]["machine"],
        "recipes": entries,
        "baselines": _baselines(baselines, metrics),
        "rows": [*rows, *({"recipe": row["system"], **{k: v for k, v in row.items() if k != "system"}}
                          for row in baselines["rows"])],
    }  # fmt: skip


def grid(rows: Sequence[Json], recipe: str, metric: str) -> np.ndarray[Any, Any]:
    """A metric of one recipe, `[songs, seeds]`; NaN where it has no value."""
    own = [row for row in rows if row["recipe"] == recipe]
    files = list(dict.fromkeys(row["file"] for row in rows))
    seeds = sorted({row["seed"] for row in own})
    values = np.full((len(files), len(seeds)), math.nan)
    for row in own:
        value = row.get(metric)
        if isinstance(value, (int, float)):
            values[files.index(row["file"]), seeds.index(row["seed"])] = value
    return values


def interval(values: np.ndarray[Any, Any]) -> dict[str, float | int]:
    """Mean over songs and seeds of `[songs, seeds]`, and its 95 % interval; songs without all values do not count.

    Songs and seeds are both drawn with replacement, each by itself: the values of one song, or of one seed, go
    together, so that three seeds do not make three songs of one. With one song there is no interval.
    """
    known = values[np.isfinite(values).all(axis=1)]
    songs, seeds = known.shape
    if seeds < 2 or songs < 2:  # nothing to draw seeds from
        found = mean_interval([float(row.mean()) for row in known])
        return {"mean": found.mean, "low": found.low, "high": found.high, "songs": songs, "seeds": seeds}
    random = np.random.default_rng(0)
    chosen_songs = random.integers(0, songs, size=(RESAMPLES, songs, 1))
    chosen_seeds = random.integers(0, seeds, size=(RESAMPLES, 1, seeds))
    means = known[chosen_songs, chosen_seeds].mean(axis=(1, 2))
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return {"mean": float(known.mean()), "low": float(low), "high": float(high), "songs": songs, "seeds": seeds}


def _over_seeds(values: Sequence[float]) -> dict[str, float | int]:
    """Mean over seeds with its 95 % interval by Student's t: a few seeds are too few to draw from."""
    mean, count = float(np.mean(values)), len(values)
    reach = 0.0 if count < 2 else T_95.get(count, T_95[max(T_95)]) * float(np.std(values, ddof=1)) / count**0.5
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "seeds": count}


def _same_crop(recipes: Recipes, name: str) -> str | None:
    """The recipe that changes nothing but the crop, to that of `name`: what `name`'s other changes are held against."""
    crop = recipes.changes[name].get("max_duration")
    twins = [other for other, changes in recipes.changes.items() if changes == {"max_duration": crop}]
    return twins[0] if twins and twins[0] != name else None


def _differences(
    grids: Mapping[str, Mapping[str, np.ndarray[Any, Any]]],
    name: str,
    default: str | None,
    metrics: Sequence[str],
    runs: Sequence[Json],
) -> dict[str, Any]:
    """Each metric minus that of `default` on the same song with the same seed, over the seeds that both have."""
    if default is None or name == default or default not in grids:
        return {}
    seeds = {one: sorted(run["seed"] for run in runs if run["recipe"] == one) for one in (name, default)}
    common = [seed for seed in seeds[name] if seed in seeds[default]]
    if not common:
        return {}
    chosen = {one: [seeds[one].index(seed) for seed in common] for one in (name, default)}
    return {
        metric: interval(grids[name][metric][:, chosen[name]] - grids[default][metric][:, chosen[default]])
        for metric in metrics
    }


def _baselines(baselines: Json, metrics: Sequence[str]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(row["system"] for row in baselines["rows"]))
    rows = [{**row, "recipe": row["system"], "seed": 0} for row in baselines["rows"]]
    return [
        {
            "system": name,
            "control": name in CONTROLS,
            "flow": baselines["flows"].get(name),
            **{metric: interval(grid(rows, name, metric)) for metric in metrics},
        }
        for name in names
    ]


def csv_text(record: Json) -> str:
    """One line for each recipe, seed and song; baselines have no seed."""
    columns = ["recipe", "seed", "file", *record["metrics"], "tier", *CODES, "seconds"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in record["rows"])
    return text.getvalue()


def markdown(record: Json) -> str:
    """The table, the differences, what they say of the default and of `bypass`, and how it was made."""
    judging, held_out = record["judging"], record["held_out"]
    nested = {"base": record["base"], "decoding": judging.get("decoding", {}), "machine": record["machine"]}
    settings = {**judging, **{key: _yaml(value) for key, value in nested.items()}}
    parts = [
        f"# Training recipes: {record['name']}",
        "Written by `benchmarks/train_recipes.py summarize` from the JSON beside it: regenerate it, do not edit it.",
        f"```sh\n{record['command']}\n```",
        record["about"],
        "## Recipes",
        _main_table(record),
        f"Means over songs and seeds [95 % interval; songs and seeds drawn with replacement]. Decoded by the real "
        f"decoder under judge seeds {', '.join(map(str, judging['judge_seeds']))} on the suite `{judging['suite']}`; "
        f"the tier is that of the mean `stft`. `flow`: the decoder's own loss on {held_out['crops']} crops of "
        f"{held_out['seconds']:g} s of the development songs, the same crops and noise for all (interval over seeds, "
        f"Student's t). Random codes use every entry: usage and perplexity are no sign of quality by themselves. A "
        f"step's time is the median on the machine below; all recipes have as many steps.",
        "## Differences",
        _difference_table(record),
        "From the default, and from the recipe that has the same crop and changes nothing else; on the same song, with "
        "the same seed. Below zero is better.",
        "## What it says",
        "\n".join(f"- {line}" for line in verdicts(record)),
        "## Settings",
        "\n".join(f"- {key}: {value}" for key, value in settings.items()),
    ]
    return "\n\n".join(parts) + "\n"


def verdicts(record: Json) -> list[str]:
    """In words: which recipe is lowest, whether the default is it, and how `bypass` fares with the real decoder."""
    entries = [entry for entry in record["recipes"] if entry.get(TIER_METRIC, {}).get("mean") is not None]
    if not entries:
        return []
    best = min(entries, key=lambda entry: entry[TIER_METRIC]["mean"])
    default = record["default"]
    lines = [f"Lowest `{TIER_METRIC}`: **{best['recipe']}**, {_number(best[TIER_METRIC]['mean'], TIER_METRIC)}."]
    if best["recipe"] != default:
        lines.append(f"The default is `{default}`: {_compared(best, default)}.")
    for entry in entries:
        if entry["settings"]["objective"] == "bypass" and entry["recipe"] != default:
            found = _compared(entry, default)
            if twin := entry["same_crop"]:
                found += f"; at the same crop, {_compared(entry, twin, 'same_crop_differences')}"
            lines.append(f"The report's recommended objective, decoded by the real decoder: {found}.")
    counts = {len(entry["seeds"]) for entry in entries}
    if len(counts) > 1:
        lines.append(f"Unfinished: some recipes have {min(counts)} seeds, others {max(counts)}.")
    return lines


def _compared(entry: Json, default: str, differences: str = "differences") -> str:
    found = entry[differences].get(TIER_METRIC)
    if found is None or found["low"] is None:
        return f"`{entry['recipe']}` cannot be compared with `{default}` yet"
    word = "better than" if found["high"] < 0 else "worse than" if found["low"] > 0 else "not clearly different from"
    return f"`{entry['recipe']}` is {word} `{default}` ({TIER_METRIC} {_signed(found, TIER_METRIC)})"


def _main_table(record: Json) -> str:
    metrics = (*record["metrics"], *CODES)
    rows = [["recipe", "changed", "crop (s)", "seeds", "s / step", "tier", *metrics, "flow"]]
    for entry in record["recipes"]:
        settings, seconds = entry["settings"], entry["step_seconds"]
        crop = "–" if settings.get("max_duration") is None else f"{settings['max_duration']:g}"
        flow = entry["flow"]
        span = f" [{_number(flow['low'], 'flow')}, {_number(flow['high'], 'flow')}]" if flow["seeds"] > 1 else ""
        rows.append(
            [entry["recipe"], _yaml(entry["changes"]), crop, str(len(entry["seeds"])),
             MISSING if seconds is None else f"{seconds:.2f}", *_figures(entry, metrics),
             _number(flow["mean"], "flow") + span]
        )  # fmt: skip
    for entry in record["baselines"]:
        name = f"control: {entry['system']}" if entry["control"] else entry["system"]
        rows.append([name, *[MISSING] * 4, *_figures(entry, metrics), _number(entry["flow"], "flow")])
    return _table(rows)


def _figures(entry: Json, metrics: Sequence[str]) -> list[str]:
    mean = entry.get(TIER_METRIC, {}).get("mean")
    return [MISSING if mean is None else tier(mean), *(_interval(entry[metric], metric) for metric in metrics)]


def _difference_table(record: Json) -> str:
    rows = [["recipe", "less", *record["metrics"]]]
    for entry in record["recipes"]:
        for base, found in (
            (record["default"], entry["differences"]),
            (entry["same_crop"], entry["same_crop_differences"]),
        ):
            if found:
                rows.append([entry["recipe"], base, *(_signed(found[metric], metric) for metric in record["metrics"])])
    return _table(rows) if len(rows) > 1 else "None yet."


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _interval(found: Json, metric: str) -> str:
    if found["low"] is None:
        return _number(found["mean"], metric)
    return f"{_number(found['mean'], metric)} [{_number(found['low'], metric)}, {_number(found['high'], metric)}]"


def _signed(found: Json, metric: str) -> str:
    if found["mean"] is None:
        return MISSING
    places = _DECIMALS.get(metric, 3)
    if found["low"] is None:
        return f"{found['mean']:+.{places}f}"
    unclear = "" if found["low"] > 0 or found["high"] < 0 else " includes 0"
    return f"{found['mean']:+.{places}f} [{found['low']:+.{places}f}, {found['high']:+.{places}f}]{unclear}"


def _number(value: float | None, metric: str) -> str:
    return MISSING if value is None else f"{value:.{_DECIMALS.get(metric, 3)}f}"


def _yaml(changes: Json) -> str:
    return ", ".join(f"{key} {value}" for key, value in changes.items()) or MISSING
