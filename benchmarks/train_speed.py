"""Training speed: seconds of audio trained a second, heartopt's cached training against a loop as the report's.

    python benchmarks/train_speed.py --data-dir SONGS --songs 40 --epochs 5 --json reports/train_speed.json

Three comparisons, each with a fresh `report_loop.ReportLoop` (which reads, resamples and encodes every song every
epoch): heartopt's `flow` and `bypass` objectives on crops of `--seconds`, with the loop's own projection, and `train`
as it is by default. Both sides have the same songs, batch size and number of crops an epoch (one a song); their epochs
alternate in one process, so that other work on the machine hits both, and the first of each is not counted. A ratio is
that of two epochs that ran one after the other.

Before that the cache is filled, a batch of songs at a time, each followed by a pass of the loop over the same songs
that reads, resamples and encodes only. Here too the songs alternate and a ratio is that of neighbours.

heartopt reads its crops without reading ahead, or it would do so during the loop's epochs; the loop reads ahead with
`--num-workers` processes, as its script does, and so does the cache's filling, with threads. The loop neither validates
nor saves; heartopt does both where all of its songs have been seen once, and that time counts, but on one crop only.
Peak memory is that of a process of its own for each, over one epoch; for the loop, also that of its largest reader.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from report_loop import Epoch, ReportLoop
from train_common import fill_cache, in_own_process, largest_child_mb, machine, manifest, peak_mb, songs_in

from heartopt.codec import HeartCodec
from heartopt.errors import HeartoptError
from heartopt.files import write_json
from heartopt.training import StepRecord, train

#: The report's own network, for the comparisons at the same crop length; but heartopt reads and decodes stereo, the
#: loop mono: `bypass` does twice the loop's work in the waveform decoder.
SAME_PROJECTION = {"projection_type": "linear", "hidden_dim": 256}


@dataclass(frozen=True)
class Bench:
    """What all comparisons share. `songs` are trained on, `judge` is held out; `cache` holds the songs' latents."""

    codec: str
    songs: tuple[Path, ...]
    judge: Path
    folder: Path
    batch_size: int
    seconds: float
    epochs: int
    num_workers: int
    threads: int

    @property
    def steps(self) -> int:
        """Steps of one epoch: as many crops as songs, a last smaller batch dropped."""
        return len(self.songs) // self.batch_size

    def variants(self) -> dict[str, dict[str, Any]]:
        """What is compared, as `train`'s settings; an empty mapping is its defaults."""
        same = {**SAME_PROJECTION, "max_duration": self.seconds}
        return {"flow": {**same, "objective": "flow"}, "bypass": {**same, "objective": "bypass"}, "default": {}}

    def loop(self, codec: HeartCodec, songs: Sequence[Path] | None = None) -> ReportLoop:
        chosen = self.songs if songs is None else songs
        return ReportLoop(
            chosen,
            codec,
            batch_size=min(self.batch_size, len(chosen)),
            seconds=self.seconds,
            epochs=self.epochs + 1,
            num_workers=self.num_workers,
        )

    def train(self, name: str, codec: HeartCodec, *, epochs: int, progress: Any) -> None:
        """heartopt's side of comparison `name`."""
        train(
            data_dir=manifest(self.folder / "songs.txt", list(self.songs)),
            val_dir=manifest(self.folder / "judge.txt", [self.judge]),
            output_dir=self.folder / f"{name}-{epochs}",
            codec=codec,
            cache_dir=self.folder / "cache",
            batch_size=self.batch_size,
            steps=self.steps * epochs,
            val_crops=1,
            num_val_samples=0,
            num_workers=0,
            progress=progress,
            **self.variants()[name],
        )


class Alternate:
    """Progress of `train`: measures its epochs of `steps`, and lets the report's loop do one after each."""

    def __init__(self, loop: ReportLoop, steps: int) -> None:
        self.loop, self.steps = loop, steps
        self.began: float | None = None
        self.audio = 0.0
        self.ours: list[Epoch] = []
        self.theirs: list[Epoch] = []

    def __call__(self, event: object) -> None:
        if not isinstance(event, StepRecord):
            return
        self.audio += event.audio_seconds
        if event.step % self.steps:
            return
        now = time.perf_counter()
        theirs = self.loop.train_epoch()
        if self.began is not None:  # the first epoch of both is not counted
            self.ours.append(Epoch(self.audio, now - self.began, event.loss))
            self.theirs.append(theirs)
        self.audio = 0.0
        self.began = time.perf_counter()


def compare(bench: Bench, name: str, codec: HeartCodec) -> dict[str, Any]:
    """Speeds of both sides, epoch by epoch, and their ratio."""
    alternate = Alternate(bench.loop(codec), bench.steps)
    bench.train(name, codec, epochs=bench.epochs + 1, progress=alternate)
    crops = bench.steps * bench.batch_size
    speeds = [[epoch.audio / epoch.wall for epoch in side] for side in (alternate.ours, alternate.theirs)]
    return {
        "crop_seconds": statistics.mean(epoch.audio for epoch in alternate.ours) / crops,
        "report_crop_seconds": bench.seconds,
        **_both(*speeds),
        "report_losses": [epoch.loss for epoch in alternate.theirs],
    }


def fill(bench: Bench, codec: HeartCodec) -> dict[str, Any]:
    """Fill the cache batch by batch; seconds of audio encoded a second, beside the report's loop on the same songs."""
    ours, theirs = [], []
    for first in range(0, len(bench.songs), bench.batch_size):
        part = bench.songs[first : first + bench.batch_size]
        songs = manifest(bench.folder / f"part-{first}.txt", list(part))
        settings = {"num_workers": bench.num_workers}
        filled = fill_cache(songs, codec, bench.folder / "fill", bench.folder / "cache", **settings)
        epoch = bench.loop(codec, part).encode_epoch()
        ours.append(filled.audio / filled.wall)
        theirs.append(epoch.audio / epoch.wall)
    return _both(ours, theirs)


def _both(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Seconds of audio a second on both sides, and the ratio of each pair."""
    ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
    return {"heartopt": spread(ours), "report": spread(theirs), "ratio": spread(ratios)}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, lowest, highest and all values."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "all": list(values)}


def memory(bench: Bench, name: str) -> dict[str, float]:
    """Peak memory of one epoch, from within a process of its own; `name` "report" is the loop."""
    torch.set_num_threads(bench.threads)
    codec = HeartCodec.from_pretrained(bench.codec)
    loaded = peak_mb()
    if name == "report":
        bench.loop(codec).train_epoch()
        return {"codec_mb": loaded, "peak_mb": peak_mb(), "largest_reader_mb": largest_child_mb()}
    bench.train(name, codec, epochs=1, progress=None)
    return {"codec_mb": loaded, "peak_mb": peak_mb()}


def measure(bench: Bench) -> dict[str, Any]:
    """Everything, as JSON has it."""
    torch.set_num_threads(bench.threads)
    codec = HeartCodec.from_pretrained(bench.codec)
    settings = {key: value for key, value in asdict(bench).items() if key not in ("songs", "judge", "folder")}
    report: dict[str, Any] = {"machine": machine(), "settings": {**settings, "songs": len(bench.songs)}}
    report["fill"] = fill(bench, codec)
    _say("fill", report["fill"])
    report["training"] = {}
    for name in bench.variants():
        report["training"][name] = compare(bench, name, codec)
        _say(name, report["training"][name])
    report["memory"] = {name: in_own_process(memory, bench, name) for name in ("report", *bench.variants())}
    return report


def _say(name: str, found: Mapping[str, Any]) -> None:
    ours, theirs, ratio = (found[side] for side in ("heartopt", "report", "ratio"))
    text = f"{ours['median']:.1f} s of audio a second, the report's loop {theirs['median']:.2f}"
    print(f"{name}: {text}: {ratio['median']:.1f}x [{ratio['low']:.1f}, {ratio['high']:.1f}]", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of songs; one more than --songs is used")
    parser.add_argument("--songs", type=int, default=40, help="songs to train on (default 40)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a crop (default 5)")
    parser.add_argument("--epochs", type=int, default=5, help="measured epochs of each side (default 5)")
    parser.add_argument("--codec", default="mini")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads (default 2)")
    parser.add_argument("--num-workers", type=int, default=4, help="of the loop and of the cache's filling (default 4)")
    parser.add_argument("--json", type=Path, help="write the figures here; default: standard output")
    given = parser.parse_args(arguments)
    try:
        songs = songs_in(given.data_dir, given.songs + 1)
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(
                codec=given.codec,
                songs=tuple(songs[:-1]),
                judge=songs[-1],
                folder=Path(folder),
                batch_size=given.batch_size,
                seconds=given.seconds,
                epochs=given.epochs,
                num_workers=given.num_workers,
                threads=given.threads,
            )
            report = measure(bench)
        if given.json is None:
            print(json.dumps(report, indent=2))
        else:
            write_json(given.json, report)
    except HeartoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
