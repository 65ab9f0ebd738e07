"""Write what `train_speed.py` and `train_growth.py` measured as one page.

    python benchmarks/train_figures.py [--report reports]

Reads REPORT/train_speed.json and REPORT/train_growth.json and writes REPORT/train_speed.md, whose every figure follows
from them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heartopt.errors import ConfigError, HeartoptError
from heartopt.files import write_text

Json = Mapping[str, Any]
NAMES = {
    "fill": "filling the cache, beside the loop's encoding",
    "flow": "`flow`, the loop's projection and crops",
    "bypass": "`bypass`, the same, but decoding stereo where the loop decodes mono",
    "default": "`heartopt train` as it is by default",
}
GROWTH = {
    "fill_seconds": "filling the cache (s)",
    "epoch_seconds": "one epoch (s)",
    "step_seconds": "one step, median (s)",
    "fill_peak_mb": "peak memory, filling (MB)",
    "train_peak_mb": "peak memory, training (MB)",
}


def page(speed: Json, growth: Json) -> str:
    """The whole page, as Markdown."""
    return "\n\n".join(
        (
            "# Training: speed and growth",
            "Written by `benchmarks/train_figures.py` from the JSON beside it: regenerate it, do not edit it.",
            _commands(speed, growth),
            "## Speed",
            _speed_words(speed),
            _speed_table(speed),
            _memory_table(speed),
            "## Growth",
            _growth_words(growth),
            _growth_table(growth),
            "![time and memory against the number of songs, with fitted lines](train_growth.png)",
        )
    ) + "\n"


def _commands(speed: Json, growth: Json) -> str:
    given, sizes = speed["settings"], " ".join(str(row["songs"]) for row in growth["rows"])
    return (
        "```sh\n"
        f"python benchmarks/train_speed.py --data-dir corpora/train --songs {given['songs']} "
        f"--epochs {given['epochs']} --json reports/train_speed.json\n"
        f"python benchmarks/train_growth.py --data-dir corpora/train --sizes {sizes} "
        "--json reports/train_growth.json --plot reports/train_growth.png\n"
        "python benchmarks/train_figures.py\n```"
    )


def _machine(report: Json) -> str:
    found = report["machine"]
    return f"{found['cores']} cores ({found['processor']}), {found['torch_threads']} threads, torch {found['torch']}"


def _speed_words(speed: Json) -> str:
    given = speed["settings"]
    return (
        f"Seconds of audio trained a second, after the first epoch: heartopt beside a faithful loop of the training "
        f"report's fast script, which reads, resamples and encodes every clip every epoch. {given['songs']} songs, "
        f"batches of {given['batch_size']}, {given['epochs']} epochs each, in turn in one process; the loop's crops "
        f"have {given['seconds']:g} s. Medians [lowest, highest] over epochs (over batches of songs for the cache); a "
        f"ratio is that of neighbours. {_machine(speed)}; codec `{given['codec']}`."
    )


def _speed_table(speed: Json) -> str:
    rows = [["what", "crop (s)", "heartopt", "the report's loop", "ratio"]]
    for name, found in (("fill", speed["fill"]), *speed["training"].items()):
        crop = f"{found['crop_seconds']:.2f}" if "crop_seconds" in found else "–"
        sides = (_spread(found[side]) for side in ("heartopt", "report", "ratio"))
        rows.append([NAMES[name], crop, *sides])
    return _table(rows)


def _spread(found: Json) -> str:
    return f"{found['median']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _memory_table(speed: Json) -> str:
    rows = [["peak memory of a process of its own, one epoch", "MB", "of which the loaded codec"]]
    for name, found in speed["memory"].items():
        reader = f"; its largest reader {found['largest_reader_mb']:.0f}" if "largest_reader_mb" in found else ""
        label = "the report's loop" if name == "report" else NAMES[name]
        rows.append([label, f"{found['peak_mb']:.0f}{reader}", f"{found['codec_mb']:.0f}"])
    return _table(rows)


def _growth_words(growth: Json) -> str:
    given = growth["settings"]
    return (
        f"Corpora of different excerpts of {given['excerpt_seconds']:g} s, each in a process of its own with an empty "
        f"cache: it fills the cache, then trains one epoch (`{given['objective']}`, batches of {given['batch_size']}). "
        "The last row is the largest corpus' figure over the smallest's, a song where the figure should grow with the "
        f"songs: 1 is linear, or flat. {_machine(growth)}."
    )


def _growth_table(growth: Json) -> str:
    rows = [["songs", *GROWTH.values()]]
    for row in growth["rows"]:
        rows.append([f"{row['songs']:.0f}", *(_figure(row[name]) for name in GROWTH)])
    rows.append(["largest over smallest", *(f"{growth['fits'][name]['end_ratio']:.2f}" for name in GROWTH)])
    return _table(rows)


def _figure(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]])


def _read(path: Path) -> Json:
    try:
        found: Json = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, default=Path("reports"))
    folder = parser.parse_args(arguments).report
    try:
        text = page(_read(folder / "train_speed.json"), _read(folder / "train_growth.json"))
        write_text(folder / "train_speed.md", text)
    except HeartoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(folder / "train_speed.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
