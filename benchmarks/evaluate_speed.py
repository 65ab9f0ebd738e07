"""Metric speed: what each metric costs on one core, and whether all but ViSQOL stay within a tenth of real time.

    OMP_NUM_THREADS=1 python benchmarks/evaluate_speed.py [SONG ...] --report reports

The first `--seconds` of the songs (default: the excerpts of the repository), one after the other and again from the
first where they are shorter, stereo at 48 kHz, against themselves through MP3 at 64 kbit/s. Each turn makes a new pair:
first the transforms that several metrics share, then metric by metric; last the default set again for another estimate
of the same song, whose own transforms are kept. One turn before the first warms up. The figures are CPU time of this
process, which other work on the machine moves less than it moves the wall clock, whose figures stand beside them.
ViSQOL is left out: it takes longer than the audio lasts. Writes REPORT/evaluate_speed.json and .md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from train_common import machine

from heartopt.audio import SAMPLE_RATE, AudioFile, stereo
from heartopt.errors import AudioError, HeartoptError
from heartopt.evaluation.lossy import lossy_roundtrip
from heartopt.files import write_json, write_text
from heartopt.metrics import DEFAULT_METRICS, METRICS
from heartopt.metrics.pair import Pair, Signal

EXCERPTS = Path(__file__).parent / "suites" / "excerpts"
BUDGET = 0.1  # of real time
LEFT_OUT = ("visqol",)
EXTRA = tuple(name for name in METRICS if name not in (*DEFAULT_METRICS, *LEFT_OUT))
SPEECH = "the mean of the channels at 16 kHz"
SHARED: Mapping[str, Callable[[Pair], object]] = {
    "spectra of 512, 1024 and 2048 samples": lambda pair: pair.spectra,
    SPEECH: lambda pair: (pair.estimate.mono_16k, pair.target.mono_16k),
}
PESQ = ("pesq_wb", "pesq_nb", SPEECH)
AGAIN = "again"
Turn = dict[str, tuple[float, float]]  # CPU and wall seconds by what took them


def excerpt(songs: Sequence[Path], seconds: float) -> Tensor:
    """`[2, N]`: the songs, one after the other and over again, up to `seconds`."""
    wanted = round(seconds * SAMPLE_RATE)
    if wanted < 1:
        raise AudioError(f"--seconds must be above 0, got {seconds:g}")
    parts: list[Tensor] = []
    for song in songs:
        with AudioFile(song) as file:
            parts.append(stereo(file.read(0, min(wanted, file.num_samples))))
    whole = torch.cat(parts, dim=1)
    return whole.repeat(1, -(-wanted // whole.shape[1]))[:, :wanted]


def turn(estimate: Tensor, target: Tensor) -> Turn:
    """One pair, measured by everything."""
    found: Turn = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        found[name] = time.process_time() - cpu, time.perf_counter() - wall

    with torch.no_grad():
        pair = Pair(Signal(estimate), Signal(target))
        for name, make in SHARED.items():
            timed(name, lambda make=make: make(pair))  # type: ignore[misc]
        for name in (*DEFAULT_METRICS, *EXTRA):
            timed(name, lambda name=name: METRICS[name].compute(pair))  # type: ignore[misc]
        other = Pair(Signal(estimate), pair.target)
        timed(AGAIN, lambda: [METRICS[name].compute(other) for name in DEFAULT_METRICS])
    return found


def summary(turns: Sequence[Turn], seconds: float) -> dict[str, Any]:
    """Medians over turns: of each part, and of the sums over each turn."""

    def medians(names: Sequence[str]) -> dict[str, Any]:
        cpu, wall = (statistics.median(sum(one[name][side] for name in names) for one in turns) for side in (0, 1))
        return {"cpu_seconds": cpu, "wall_seconds": wall, "of_real_time": cpu / seconds}

    counted = [*SHARED, *DEFAULT_METRICS]
    record: dict[str, Any] = {
        "seconds": seconds,
        "turns": len(turns),
        "whole": medians([*counted, *EXTRA]),
        "default": medians(counted),
        "default_without_pesq": medians([name for name in counted if name not in PESQ]),
        "another_estimate": medians([AGAIN]),
        "parts": {name: medians([name]) for name in (*counted, *EXTRA)},
    }
    for part in record["parts"].values():
        part["share"] = part["cpu_seconds"] / record["whole"]["cpu_seconds"]
    record["within_budget"] = record["whole"]["of_real_time"] <= BUDGET
    return record


def page(record: Mapping[str, Any]) -> str:
    """The report, as Markdown. It follows from the record alone."""
    info, seconds = record["machine"], record["seconds"]
    totals = [
        ("all metrics but ViSQOL, shared transforms included", record["whole"]),
        ("the default set", record["default"]),
        ("the default set without PESQ", record["default_without_pesq"]),
        ("the default set, for another estimate of the same song", record["another_estimate"]),
    ]
    word = "within" if record["within_budget"] else "**not** within"
    lines = [
        "# Evaluation: speed of the metrics",
        "",
        "Written by `benchmarks/evaluate_speed.py`: regenerate it, do not edit it.",
        "",
        f"{seconds:g} s of stereo at 48 kHz against itself through MP3 at 64 kbit/s, one thread, {record['turns']} "
        "turns after one to warm up; medians. CPU is this process's own time, wall is what the clock says with "
        f"whatever else the machine was doing. torch {info['torch']}, {info['cores']} cores ({info['processor']}).",
        "",
        f"All metrics but ViSQOL are {word} {BUDGET:g} of real time ({1000 * BUDGET * seconds:.0f} ms) on one core.",
        "",
        "| | CPU, ms | wall, ms | of real time |",
        "|---|---:|---:|---:|",
        *(f"| {name} | {_times(part)} | {part['of_real_time']:.3f} |" for name, part in totals),
        "",
        "## Where it goes",
        "",
        "Transforms that several metrics share stand first; a metric's own time is what it adds. Those that share more "
        "(the three resolutions of `stft`, `si_sdr_aligned` and `delay_ms`) leave it with the one that asks first.",
        "",
        "| | CPU, ms | wall, ms | share |",
        "|---|---:|---:|---:|",
        *(f"| {_named(name)} | {_times(one)} | {100 * one['share']:.0f} % |" for name, one in record["parts"].items()),
        "",
        f"Not in the default set: {_list(EXTRA)}. Left out: {_list(LEFT_OUT)}.",
    ]
    return "\n".join(lines) + "\n"


def _named(name: str) -> str:
    return name if name in SHARED else f"`{name}`"


def _times(part: Mapping[str, float]) -> str:
    return f"{1000 * part['cpu_seconds']:.0f} | {1000 * part['wall_seconds']:.0f}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", type=Path, nargs="*", metavar="SONG")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--report", type=Path, default=Path("reports"))
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        parser.error("--repeats must be at least 1")
    torch.set_num_threads(1)
    try:
        target = excerpt(given.songs or sorted(EXCERPTS.glob("*.flac")), given.seconds)
        estimate = lossy_roundtrip(target, "mp3", 64)[0]
        turns = [turn(estimate, target) for _ in range(given.repeats + 1)][1:]
        record = summary(turns, target.shape[1] / SAMPLE_RATE) | {"machine": machine()}
        write_json(given.report / "evaluate_speed.json", record)
        record = json.loads((given.report / "evaluate_speed.json").read_text(encoding="utf-8"))
        write_text(given.report / "evaluate_speed.md", page(record))
    except HeartoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(page(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
