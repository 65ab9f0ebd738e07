"""Training as the corpus grows: time to fill the cache, time of a step and of an epoch, and peak memory.

    python benchmarks/train_growth.py --data-dir SONGS --sizes 10 40 100 \
        --json reports/train_growth.json --plot reports/train_growth.png

The corpora are different excerpts of the given songs (copies of one song would be skipped as such), of one length, the
smaller ones parts of the larger. Each size runs in a process of its own with an empty cache: it fills the cache, then
trains one epoch. Filling and epochs should be linear in the songs, a step and the memory flat: the JSON has the fitted
slope of each and its value at the largest size over that at the smallest, a song for what should be linear.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from train_common import SongClock, in_own_process, machine, manifest, peak_mb

from heartopt.audio import SAMPLE_RATE, AudioFile, find_audio, write_audio
from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError, HeartoptError
from heartopt.files import write_json
from heartopt.losses import is_silent
from heartopt.training import SongReady, StepRecord, train

#: What should grow with the songs, and what should not: figure -> (title, unit).
LINEAR = {"fill_seconds": ("filling the cache", "s"), "epoch_seconds": ("one epoch", "s")}
FLAT = {"step_seconds": ("one step (median)", "s"), "fill_peak_mb": ("peak memory, filling", "MB"),
        "train_peak_mb": ("peak memory, training", "MB")}  # fmt: skip


def cut_excerpts(songs: Sequence[Path], folder: Path, *, count: int, seconds: float) -> list[Path]:
    """`count` different excerpts of `seconds` as FLAC at 48 kHz: every song's first, then every song's second, …

    Raises:
        ConfigError: the songs are too short for so many; silent excerpts do not count.
    """
    samples = round(seconds * SAMPLE_RATE)
    lengths = []
    for song in songs:
        with AudioFile(song) as source:
            lengths.append(source.num_samples // samples)
    excerpts: list[Path] = []
    for turn, number in sorted((turn, number) for number, length in enumerate(lengths) for turn in range(length)):
        with AudioFile(songs[number]) as source:
            audio = source.read(turn * samples, (turn + 1) * samples)
        if is_silent(audio):
            continue
        excerpts.append(folder / f"{turn:03d}-{number:03d}.flac")
        write_audio(excerpts[-1], audio)
        if len(excerpts) == count:
            return excerpts
    raise ConfigError(f"the songs hold {len(excerpts)} excerpts of {seconds:g} s, {count} are needed; cut shorter ones")


def run_size(settings: Mapping[str, Any]) -> dict[str, float]:
    """Fill an empty cache with `songs` and train an epoch on it, from within a process of its own."""
    torch.set_num_threads(settings["threads"])
    codec = HeartCodec.from_pretrained(settings["codec"])
    codec.fingerprint()
    folder = Path(settings["folder"])
    watch = _Watch(peak_mb())
    train(
        data_dir=manifest(folder / "songs.txt", settings["songs"]),
        val_dir=manifest(folder / "judge.txt", [settings["judge"]]),
        output_dir=folder / "run",
        codec=codec,
        cache_dir=folder / "cache",
        epochs=1,
        val_crops=1,
        num_val_samples=0,
        progress=watch,
        **settings["train"],
    )
    return watch.figures(len(settings["songs"]))


class _Watch:
    """Progress of `train`: the clock of the songs (the held-out one is not counted), then that of the steps."""

    def __init__(self, loaded_mb: float) -> None:
        self.loaded_mb = loaded_mb
        self.fill_peak_mb = 0.0
        self.songs = SongClock()
        self.steps: list[float] = []

    def __call__(self, event: object) -> None:
        if not self.songs.complete:
            self.songs(event)
        if isinstance(event, StepRecord):
            if not self.steps:
                self.began = time.perf_counter() - event.seconds
            self.steps.append(event.seconds)
            self.ended = time.perf_counter()
        elif isinstance(event, SongReady):
            self.fill_peak_mb = peak_mb()

    def figures(self, songs: int) -> dict[str, float]:
        return {
            "songs": songs,
            "audio_seconds": self.songs.audio,
            "fill_seconds": self.songs.wall,
            "steps": len(self.steps),
            "step_seconds": statistics.median(self.steps[1:] or self.steps),
            "epoch_seconds": self.ended - self.began,
            "codec_mb": self.loaded_mb,
            "fill_peak_mb": self.fill_peak_mb,
            "train_peak_mb": peak_mb(),
        }


def fit(rows: Sequence[Mapping[str, float]], figure: str, *, linear: bool) -> dict[str, float]:
    """The line through a figure by songs, how far off it is at most (of the largest value), and the ratio of ends.

    `end_ratio`: the largest corpus' value over the smallest's, each by its songs where the figure should be `linear`:
    1 where it is as it should be.
    """
    songs = np.array([row["songs"] for row in rows], dtype=np.float64)
    values = np.array([row[figure] for row in rows], dtype=np.float64)
    slope, intercept = np.polyfit(songs, values, 1) if len(rows) > 1 else (0.0, values[0])
    off = np.abs(values - (slope * songs + intercept)).max() / values.max()
    a_song = values / songs if linear else values
    return {
        "slope_a_song": float(slope),
        "intercept": float(intercept),
        "off_the_line": float(off),
        "end_ratio": float(a_song[-1] / a_song[0]),
    }


def summarize(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The rows, one a size, and a fit for each figure."""
    fits = {name: fit(rows, name, linear=name in LINEAR) for name in (*LINEAR, *FLAT)}
    return {"rows": [dict(row) for row in rows], "fits": fits}


def median_rows(runs: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """One row a size from the repeats of it: medians, figure by figure."""
    return [{name: statistics.median(row[name] for row in repeats) for name in repeats[0]} for repeats in runs]


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Each figure against the number of songs, with its fitted line."""
    from matplotlib.figure import Figure

    rows, figures = report["rows"], {**LINEAR, **FLAT}
    songs = np.array([row["songs"] for row in rows])
    canvas = Figure(figsize=(15, 3.2), layout="constrained")
    for axes, (name, (title, unit)) in zip(canvas.subplots(1, len(figures)), figures.items(), strict=True):
        line = report["fits"][name]
        axes.plot(songs, [row[name] for row in rows], "o")
        axes.plot(songs, line["intercept"] + line["slope_a_song"] * songs, "-", alpha=0.6)
        axes.set(title=title, xlabel="songs", ylabel=unit, xlim=(0, None))
        axes.set_ylim(0, 1.15 * max(row[name] for row in rows))
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of songs to cut excerpts from")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 40, 100], help="songs (default 10 40 100)")
    parser.add_argument("--excerpt-seconds", type=float, default=30.0, help="length of each (default 30)")
    parser.add_argument("--repeats", type=int, default=1, help="of all sizes in turn; medians count (default 1)")
    parser.add_argument("--objective", default="flow")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-duration", type=float, help="seconds of a crop; default: the codec's window")
    parser.add_argument("--codec", default="mini")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads (default 2)")
    parser.add_argument("--json", type=Path, help="write the figures here; default: standard output")
    parser.add_argument("--plot", type=Path, help="write a figure (PNG) here")
    given = parser.parse_args(arguments)
    try:
        report = measure(given)
    except HeartoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if given.plot is not None:
        plot(report, given.plot)
    if given.json is None:
        print(json.dumps(report, indent=2))
    else:
        write_json(given.json, report)
    return 0


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Cut the excerpts, run every size `repeats` times in turn, and sum up."""
    sizes = sorted(set(given.sizes))
    options = {"objective": given.objective, "batch_size": given.batch_size, "max_duration": given.max_duration}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        songs = [file.path for file in find_audio([given.data_dir])]
        *excerpts, judge = cut_excerpts(songs, folder / "songs", count=sizes[-1] + 1, seconds=given.excerpt_seconds)
        runs: list[list[dict[str, float]]] = [[] for _ in sizes]
        for repeat in range(given.repeats):
            for size, rows in zip(sizes, runs, strict=True):
                settings = {"songs": excerpts[:size], "judge": judge, "folder": str(folder / f"{size}-{repeat}"),
                            "codec": given.codec, "threads": given.threads, "train": options}  # fmt: skip
                rows.append(in_own_process(run_size, settings))
                print(json.dumps(rows[-1]), file=sys.stderr)
    shown = {"excerpt_seconds": given.excerpt_seconds, "repeats": given.repeats, "codec": given.codec, **options}
    return {"machine": {**machine(), "torch_threads": given.threads}, "settings": shown, **summarize(median_rows(runs))}


if __name__ == "__main__":
    sys.exit(main())
