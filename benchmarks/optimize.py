"""The quality and the cost of `heartopt optimize`, beside the training report's way and every other encoder.

    python benchmarks/build_suite.py benchmarks/suites/optimize.yaml
    python benchmarks/optimize.py run benchmarks/recipes/optimize.yaml --output work/optimize
    python benchmarks/optimize.py summarize benchmarks/recipes/optimize.yaml --output work/optimize --report reports

`run` makes one JSON a system and excerpt, with its codes beside it, cheap systems first, and skips what is there, so
that it can be stopped and run again, in several processes too: `--only NAME` does one system or one group of
ablations, `--excerpts N` the first N. Every system's tokens are decoded with the recipe's seeds, which nothing was
fitted or chosen under, and with the codec's own windows, 10 Euler steps and guidance 1.25. Seconds are those of making
the tokens, encoding included, in one process with as many threads as `OMP_NUM_THREADS` says.

`summarize` writes NAME.json, NAME.csv, NAME.md and their pictures from what is finished.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from optimize_table import write_tables
from report_optimize import report_optimize
from torch import Tensor
from train_common import machine

from heartopt.audio import AudioTensor, read_audio, stereo
from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError, HeartoptError
from heartopt.evaluation.oracle import oracle_codes
from heartopt.evaluation.suites import load_suite
from heartopt.evaluation.systems import SYSTEMS as EVALUATED
from heartopt.evaluation.systems import Decoding, Setup, Subject
from heartopt.files import atomic_path, write_json
from heartopt.optimize import PRESETS, FlowSettings, OdeSettings, OptimizeSettings, optimize_source
from heartopt.optimize.judge import METRICS
from heartopt.projection import default_projection, tokenize_source
from heartopt.seeding import keyed_generator

#: Baselines and controls that `heartopt evaluate` has too.
SHARED = ("projection", "oracle", "scalar_roundtrip", "random_codes", "another_song", "noise", "silence")
#: The training report's way, and the same with the rounding in the loop.
REPORT, REPORT_IN_LOOP = "report", "report, rounded in the loop"
#: Its steps whose codes are decoded too, under the first seed, for the curve of quality against time.
CURVE_STEPS = (10, 25, 50, 100, 150, 200, 250)
_KEYS = {"name", "suite", "seeds", "systems", "ablation_excerpts", "ablation_seconds", "ablations"}


@dataclass(frozen=True)
class Task:
    """A system to run on an excerpt; ``group``: None, or that of an ablation, which runs on the first seconds alone."""

    system: str
    group: str | None
    settings: dict[str, Any]
    song: int

    @property
    def folder(self) -> Path:
        return Path(self.group or "systems") / self.system.replace(" ", "-").replace(",", "")


class Bench:
    """Runs tasks and keeps what they need."""

    def __init__(self, recipe: Path, output: Path) -> None:
        self.record = read_recipe(recipe)
        self.output = output
        self.songs = load_suite(recipe.parent / self.record["suite"]).songs
        self.codec = HeartCodec.from_pretrained("mini")
        self.projection = default_projection(self.codec)

    def audio(self, song: int) -> Tensor:
        return stereo(read_audio(self.songs[song].path))

    def tasks(self) -> Iterator[Task]:
        """Cheap ones first, then each system and ablation over its excerpts."""
        every, some = range(len(self.songs)), range(self.record["ablation_excerpts"])
        yield from (Task(name, None, {}, song) for name in SHARED for song in every)
        systems = self.record["systems"]
        yield from (Task(name, None, dict(systems[name]), song) for name in systems for song in every)
        for group, entries in self.record["ablations"].items():
            base = next(iter(entries.values()))
            yield from (Task(name, group, {**base, **entry}, song) for name, entry in entries.items() for song in some)
        yield from (Task(name, None, {}, song) for name in (REPORT, REPORT_IN_LOOP) for song in every)

    def run(self, task: Task) -> bool:
        """Do a task; False where it was done."""
        path = self.output / task.folder / f"{Path(self.songs[task.song].name).stem}.json"
        if path.is_file():
            return False
        audio = self.audio(task.song)
        if task.group is not None:
            audio = audio[:, : round(self.record["ablation_seconds"] * self.codec.config.sample_rate)]
        row: dict[str, Any] = {
            "excerpt": Path(self.songs[task.song].name).stem,
            "system": task.system,
            "group": task.group,
            "settings": task.settings,
            "audio_seconds": audio.shape[-1] / self.codec.config.sample_rate,
        }
        if task.system in (REPORT, REPORT_IN_LOOP):
            found = self._report(task, audio)
        elif task.system in SHARED:
            found = self._shared(task, audio)
        else:
            found = self._optimize(task.settings, audio)
        codes = found.pop("codes")
        if codes is not None:
            with atomic_path(path.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
                np.save(file, codes.cpu().numpy(), allow_pickle=False)
        write_json(path, {**row, **found, "machine": machine()})
        return True

    def _shared(self, task: Task, audio: Tensor) -> dict[str, Any]:
        decoding = Decoding(self.codec.default_duration)
        setup = Setup(self.codec, self.projection, decoding, OptimizeSettings(), seed=0)
        other = (task.song + 1) % len(self.songs)
        began = time.perf_counter()
        found = EVALUATED[task.system](setup, Subject(task.song, audio, lambda: self.audio(other)))
        wall = time.perf_counter() - began
        if found.tokens is not None:
            return {"wall": wall, "codes": found.tokens, "scores": self.judge(found.tokens, audio)}
        assert found.audio is not None
        return {"wall": wall, "codes": None, "scores": [{"seed": None, **measure(found.audio, audio)}]}

    def _optimize(self, settings: dict[str, Any], audio: Tensor) -> dict[str, Any]:
        given = dict(settings)
        inits = given.pop("init", ["projection"])
        given = {**PRESETS[given.pop("preset", "standard")], **given}
        for name, kind in (("flow", FlowSettings), ("ode", OdeSettings)):
            if name in given:
                given[name] = kind(**given[name])
        wanted = OptimizeSettings(**given)
        began = time.perf_counter()
        starts = [self._start(name, audio) for name in inits]
        curve: list[tuple[str, float, float | None]] = []
        found = optimize_source(
            AudioTensor(audio),
            self.codec,
            starts,
            settings=wanted,
            progress=lambda event: curve.append((event.objective, event.loss, event.stft)),
        )
        wall = time.perf_counter() - began
        scores = self.judge(found.tokens, audio)
        return {"wall": wall, "curve": curve, "codes": found.tokens, "scores": scores}

    def _start(self, name: str, audio: Tensor) -> Tensor:
        if name == "projection":
            return tokenize_source(AudioTensor(audio), self.codec, self.projection)
        if name == "oracle":
            return oracle_codes(audio, self.codec)
        if name == "random":
            config = self.codec.config
            shape = (config.num_quantizers, -(-audio.shape[-1] // self.codec.samples_per_code))
            return torch.randint(config.codebook_size, shape, generator=keyed_generator("random start"))
        raise ConfigError(f"init {name}: choose projection, oracle or random")

    def _report(self, task: Task, audio: Tensor) -> dict[str, Any]:
        curve, points = [], []
        for record in report_optimize(audio, self.codec, in_loop=task.system == REPORT_IN_LOOP):
            curve.append(record.loss)
            if record.step in CURVE_STEPS and task.song < self.record["ablation_excerpts"]:
                scores = self.judge(record.codes, audio, seeds=self.record["seeds"][:1])
                points.append({"step": record.step, "wall": record.wall, "scores": scores})
            if record.step % 25 == 0:
                print(f"  step {record.step}, loss {record.loss:.3f}, {record.wall:.0f} s", file=sys.stderr)
        scores = self.judge(record.codes, audio)
        return {"wall": record.wall, "curve": curve, "points": points, "codes": record.codes, "scores": scores}

    @torch.inference_mode()
    def judge(self, codes: Tensor, audio: Tensor, *, seeds: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Metrics of what codes ``[K, F]`` decode to, under each of the recipe's seeds."""
        rows = []
        for seed in self.record["seeds"] if seeds is None else seeds:
            decoded = self.codec.detokenize(codes, generator=keyed_generator("benchmark", seed))
            rows.append({"seed": seed, **measure(decoded[:, : audio.shape[-1]], audio)})
        return rows


def measure(estimate: Tensor, target: Tensor) -> dict[str, float]:
    """The metrics of audio ``[2, N]`` against its target."""
    return {name: float(metric(estimate, target)) for name, metric in METRICS.items()}


def read_recipe(path: Path) -> dict[str, Any]:
    """Read and check the YAML. Raises ConfigError."""
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(record, dict) or set(record) != _KEYS:
        raise ConfigError(f"{path}: needs exactly the keys {', '.join(sorted(_KEYS))}")
    return record


def read_rows(output: Path) -> list[dict[str, Any]]:
    """Every finished row, in the order of their paths."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(output.glob("*/*/*.json"))]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("run", "summarize"))
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="folder of the rows")
    parser.add_argument("--report", type=Path, help="folder of the tables (summarize)")
    parser.add_argument("--only", action="append", help="systems or groups of ablations to run; default: all")
    parser.add_argument("--excerpts", type=int, help="only the first so many")
    given = parser.parse_args(arguments)
    try:
        actions: dict[str, Callable[[argparse.Namespace], None]] = {"run": _run, "summarize": _summarize}
        actions[given.action](given)
    except HeartoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(given: argparse.Namespace) -> None:
    bench = Bench(given.recipe, given.output)
    for task in bench.tasks():
        wanted = given.only is None or task.system in given.only or task.group in given.only
        if wanted and (given.excerpts is None or task.song < given.excerpts):
            began = time.perf_counter()
            if bench.run(task):
                took = f"{time.perf_counter() - began:.0f} s"
                print(f"{task.folder}, {bench.songs[task.song].name}: {took}", file=sys.stderr, flush=True)


def _summarize(given: argparse.Namespace) -> None:
    if given.report is None:
        raise ConfigError("summarize: give --report, the folder of the tables")
    write_tables(read_recipe(given.recipe), read_rows(given.output), given.report)


if __name__ == "__main__":
    sys.exit(main())
