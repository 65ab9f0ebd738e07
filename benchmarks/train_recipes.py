"""The quality of training recipes: trained with several seeds, judged with the real decoder on songs never seen.

    python benchmarks/build_suite.py benchmarks/suites/heldout.yaml
    python benchmarks/build_corpora.py corpora
    python benchmarks/train_recipes.py run benchmarks/recipes/train.yaml --corpora corpora --output work/recipes
    python benchmarks/train_recipes.py summarize benchmarks/recipes/train.yaml --output work/recipes --report reports

`run` trains each recipe of the YAML with each seed: all recipes with the first seed, then all with the next, so that a
table of what is there means something at any time. What a recipe does not say is the base's. Training runs on
CORPORA/train; the projection as it is after the last step is judged, not the best one on the way, since "best" is
measured by the flow loss, which not every recipe trains on. `flow` is the held-out flow loss on crops of CORPORA/dev,
the same crops for all; the other figures are those of `heartopt evaluate` on the YAML's suite. Stopped runs go on from
their checkpoint, finished ones are skipped. The tokens that `distill` learns from are those of the embedded codec's
withheld encoder (`heartopt.evaluation.oracle`); they are made where a recipe needs them.

`summarize` writes NAME.json, NAME.csv and NAME.md from what is finished, beside the withheld encoder and the controls.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from train_common import machine
from train_recipes_judge import HeldOutFlow, judge_baselines, judge_projection, last_projection
from train_recipes_table import write_tables

from heartopt.audio import read_audio, stereo
from heartopt.codec import HeartCodec
from heartopt.errors import AudioError, ConfigError, HeartoptError
from heartopt.evaluation.oracle import oracle_codes
from heartopt.files import write_json
from heartopt.tokens import TOKEN_SUFFIX, TokenInfo, save_tokens
from heartopt.training import StepRecord, train
from heartopt.training.data import find_songs

MOST_RECIPES = 8
RESULT = "result.json"
BASELINES = "baselines.json"
_KEYS = {"name", "about", "base", "seeds", "judge", "recipes"}
_JUDGE_KEYS = {"suite", "metrics", "held_out_seconds", "held_out_crops"}


@dataclass(frozen=True)
class Recipes:
    """The YAML. `changes`: of each recipe, what it changes of `base`; the first is the default."""

    name: str
    about: str
    base: dict[str, Any]
    changes: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]
    suite: Path
    metrics: tuple[str, ...]
    held_out_seconds: float
    held_out_crops: int

    def settings(self, recipe: str) -> dict[str, Any]:
        """`train`'s settings for a recipe. Raises ConfigError for one that is not there."""
        if recipe not in self.changes:
            raise ConfigError(f"recipe {recipe}: choose from {', '.join(self.changes)}")
        return self.base | self.changes[recipe]


def read_recipes(path: Path) -> Recipes:
    """Read and check the YAML. Raises ConfigError."""
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(record, dict) or set(record) != _KEYS:
        raise ConfigError(f"{path}: needs exactly the keys {', '.join(sorted(_KEYS))}")
    judge = record["judge"]
    if not isinstance(judge, dict) or set(judge) != _JUDGE_KEYS:
        raise ConfigError(f"{path}: judge needs exactly the keys {', '.join(sorted(_JUDGE_KEYS))}")
    changes = {str(name): dict(change or {}) for name, change in record["recipes"].items()}
    if not 1 <= len(changes) <= MOST_RECIPES:
        raise ConfigError(f"{path}: {len(changes)} recipes; give 1 to {MOST_RECIPES}: more are a search, not a table")
    return Recipes(
        name=record["name"],
        about=record["about"],
        base=dict(record["base"]),
        changes=changes,
        seeds=tuple(record["seeds"]),
        suite=path.parent / judge["suite"],
        metrics=tuple(judge["metrics"]),
        held_out_seconds=float(judge["held_out_seconds"]),
        held_out_crops=int(judge["held_out_crops"]),
    )


def make_teacher(songs: Path, folder: Path, codec: HeartCodec) -> Path:
    """The withheld encoder's tokens of every song, as files laid out like the songs; those that are there stay.

    Raises:
        CodecError: the codec has no encoder of its own.
    """
    for number, song in enumerate(found := find_songs(songs), start=1):
        path = folder / song.relative.with_name(song.relative.stem + TOKEN_SUFFIX)
        if path.is_file():
            continue
        try:
            audio = stereo(read_audio(song.path))
        except AudioError as error:  # training passes over songs without tokens
            print(f"no teacher's tokens: {error}", file=sys.stderr)
            continue
        codes = oracle_codes(audio, codec).cpu()
        seconds = audio.shape[-1] / 48_000
        settings = {"encoder": "withheld"}
        save_tokens(path, codes, TokenInfo(codec.name, codec.fingerprint(), None, settings, codes.shape[1], seconds))
        print(f"teacher's tokens: {number} of {len(found)}", file=sys.stderr)
    return folder


class Bench:
    """Trains and judges recipes, one run at a time, and keeps what every run needs."""

    def __init__(self, recipes: Recipes, codec: HeartCodec, *, corpora: Path, output: Path, cache: Path | None) -> None:
        self.recipes, self.codec = recipes, codec
        self.corpora, self.output, self.cache = corpora, output, cache
        self._held_out: HeldOutFlow | None = None

    @property
    def held_out(self) -> HeldOutFlow:
        """The development crops, encoded when they are first needed."""
        if self._held_out is None:
            self._held_out = HeldOutFlow(
                self.corpora / "dev",
                self.codec,
                seconds=self.recipes.held_out_seconds,
                count=self.recipes.held_out_crops,
                cache=self.cache,
            )
        return self._held_out

    def baselines(self) -> None:
        """Judge the withheld encoder and the controls, once."""
        path = self.output / BASELINES
        if not path.is_file():
            print("judging the baselines", file=sys.stderr)
            write_json(path, judge_baselines(self.recipes, self.codec, self.held_out))

    def run(self, recipe: str, seed: int) -> bool:
        """Train and judge `recipe` with `seed`; False where that is done already.

        Raises:
            ConfigError: what is done was done with other settings.
        """
        settings = self.recipes.settings(recipe)
        folder = self.output / recipe / f"seed{seed}"
        path = folder / RESULT
        if path.is_file():
            done = json.loads(path.read_text(encoding="utf-8"))["settings"]
            if done != settings:
                raise ConfigError(f"{path}: made with other settings ({done}); move it away, or give another --output")
            return False
        print(f"{recipe}, seed {seed}", file=sys.stderr)
        steps = self._train(settings, seed, folder / "run")
        projection = last_projection(folder / "run", self.codec)
        found = judge_projection(self.recipes, self.codec, projection, self.held_out)
        measured = {"step_seconds": steps["median"], "trained": steps["step"], "hours": steps["hours"]}
        record = {"recipe": recipe, "seed": seed, "settings": settings, **measured, **found, "machine": machine()}
        write_json(path, record)
        return True

    def _train(self, settings: dict[str, Any], seed: int, folder: Path) -> dict[str, Any]:
        options = dict(settings)
        if "distill" in options["objective"]:
            options["distill_tokens"] = make_teacher(self.corpora / "train", self.output / "tokens", self.codec)
        clock = _StepClock()
        result = train(
            data_dir=self.corpora / "train",
            val_dir=self.corpora / "dev",
            output_dir=folder,
            codec=self.codec,
            seed=seed,
            val_crops=1,  # what a run looks at on the way decides nothing here
            num_val_samples=0,
            resume="auto",
            cache_dir=self.cache,
            progress=clock,
            **options,
        )
        return {"median": clock.median(), "step": result.step, "hours": result.hours}


class _StepClock:
    """Progress of `train`: times of the steps, and a line now and then."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.told = time.monotonic()

    def __call__(self, event: object) -> None:
        if isinstance(event, StepRecord):
            self.seconds.append(event.seconds)
            if time.monotonic() - self.told > 60:
                self.told = time.monotonic()
                print(f"  step {event.step} of {event.steps}, loss {event.loss:.4f}", file=sys.stderr)

    def median(self) -> float | None:
        """Median seconds of a step of this call; None where training was finished before."""
        return sorted(self.seconds)[len(self.seconds) // 2] if self.seconds else None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train and judge what is not finished")
    run.add_argument("recipes", type=Path, help="the YAML")
    run.add_argument("--corpora", type=Path, required=True, help="folder with train/ and dev/ (build_corpora.py)")
    run.add_argument("--output", type=Path, required=True, help="folder of the runs")
    run.add_argument("--only", action="append", metavar="RECIPE", help="this recipe; may be repeated")
    run.add_argument("--seeds", type=int, nargs="+", help="default: the YAML's")
    run.add_argument("--codec", default="mini")
    run.add_argument("--cache-dir", type=Path, help="of the latents; default: heartopt's")
    run.add_argument("--threads", type=int, default=2, help="torch's threads (default 2)")
    table = commands.add_parser("summarize", help="write the table of what is finished")
    table.add_argument("recipes", type=Path, help="the YAML")
    table.add_argument("--output", type=Path, required=True, help="folder of the runs")
    table.add_argument("--report", type=Path, default=Path("reports"), help="folder of the table (default reports)")
    given = parser.parse_args(arguments)
    try:
        recipes = read_recipes(given.recipes)
        if given.command == "run":
            return run_all(recipes, given)
        yaml_path = f"benchmarks/recipes/{given.recipes.name}"  # as in the docstring, not as on this machine
        command = f"python benchmarks/train_recipes.py run {yaml_path} --corpora corpora --output work/recipes"
        for path in write_tables(recipes, given.output, given.report, command=command):
            print(path)
    except HeartoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run_all(recipes: Recipes, given: argparse.Namespace) -> int:
    """Every asked-for recipe with every asked-for seed, seed by seed; 1 if one failed, after the others."""
    torch.set_num_threads(given.threads)
    chosen = given.only or list(recipes.changes)
    for recipe in chosen:
        recipes.settings(recipe)
    codec = HeartCodec.from_pretrained(given.codec)
    bench = Bench(recipes, codec, corpora=given.corpora, output=given.output, cache=given.cache_dir)
    bench.baselines()
    failed = 0
    for seed in given.seeds or recipes.seeds:
        for recipe in chosen:
            try:
                done = "done" if bench.run(recipe, seed) else "was done already"
                print(f"{recipe}, seed {seed}: {done}", file=sys.stderr)
            except HeartoptError as error:
                failed = 1
                print(f"error: {recipe}, seed {seed}: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
