"""What another decoder noise does to the regression gate, metric by metric, beside what worse projections do.

    python benchmarks/gate_noise.py [--suite benchmarks/suites/gate.yaml] [--seeds 14] [--report reports]

Judges the default projection of the embedded codec under many seeds, one at a time, and holds runs of two seeds
against runs of two others, drawn anew for each song, as `heartopt evaluate` draws its noise. Nothing is worse there,
so whatever looks worse is noise: a metric's tolerance (`heartopt.metrics`) must be above it. Then the same with
projections whose weights are spoiled. Writes REPORT/gate_noise.md and REPORT/gate_noise.json.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from heartopt.codec import HeartCodec
from heartopt.evaluation import evaluate, load_suite
from heartopt.evaluation.gate import worsening_interval
from heartopt.files import write_json, write_text
from heartopt.metrics import DEFAULT_METRICS, Quantity, average, quantity
from heartopt.projection import EncoderProjection, default_projection

Values = npt.NDArray[np.float64]  # [songs, seeds]

FIRST_SEED, RUN_SEEDS = 200, 2
DRAWS = 2000
#: Spoiled projections: noise on every weight, in standard deviations of its tensor.
SPOILED = {"noise of 0.5": 0.5, "noise of 1": 1.0, "noise of 2": 2.0}


@dataclass(frozen=True)
class Noise:
    """How often a run looks worse than another, and by how much.

    Attributes:
        above: share of the pairs of runs whose interval lies above zero.
        largest: the largest mean worsening of these, 0 if there are none.
        fails: share of the pairs that fail the gate.
        worse_by: the mean worsening of all pairs.
    """

    above: float
    largest: float
    fails: float
    worse_by: float


def compare_runs(then: Values, now: Values, metric: Quantity, *, same: bool, draws: int = DRAWS) -> Noise:
    """Compare runs of two seeds, drawn for each song from its row of `[songs, seeds]`.

    With `same`, both are the same array: the seeds of one pair of runs then are four different ones.
    """
    random = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        worse = [_worse(metric, *_draw(random, old, new, same)) for old, new in zip(then, now, strict=True)]
        found.append(worsening_interval(worse))
    found = [entry for entry in found if entry.count]
    above = [entry.mean for entry in found if entry.low > 0]
    count = max(1, len(found))
    return Noise(
        above=len(above) / count,
        largest=max(above, default=0.0),
        fails=sum(mean > metric.tolerance for mean in above) / count,
        worse_by=math.fsum(entry.mean for entry in found) / len(found) if found else math.nan,
    )


def _draw(random: np.random.Generator, then: Values, now: Values, same: bool) -> tuple[float, float]:
    """The values of a song's two runs, as `evaluate` averages them over seeds."""
    first = random.permutation(len(then))
    second = first[RUN_SEEDS:] if same else random.permutation(len(now))
    runs = (average(row[drawn[:RUN_SEEDS]].tolist()) for row, drawn in ((then, first), (now, second)))
    old, new = (float(value) for value in runs)
    return old, new


def _worse(metric: Quantity, then: float, now: float) -> float:
    return metric.worsening(max(now, metric.floor), max(then, metric.floor))


def spoil(projection: EncoderProjection, amount: float) -> EncoderProjection:
    """The projection with noise of `amount` standard deviations on each tensor of weights."""
    spoiled, generator = copy.deepcopy(projection), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in spoiled.parameters():
            noise = torch.randn(weights.shape, generator=generator)
            weights.add_(noise.to(weights) * weights.std(unbiased=False) * amount)
    return spoiled


def untrained(codec: HeartCodec) -> EncoderProjection:
    """A projection as it is before training."""
    torch.manual_seed(0)
    config = codec.config
    return EncoderProjection(config.latent_hidden_dim, config.dim, 64, projection_type="linear").eval()


def judge(
    codec: HeartCodec, suite: Path, projection: EncoderProjection, seeds: Sequence[int], tell: Callable[[str], None]
) -> dict[str, Values]:
    """Metric -> values `[songs, seeds]`; NaN where there is no number."""
    columns: dict[str, list[list[float]]] = {name: [] for name in DEFAULT_METRICS}
    for seed in seeds:
        tell(f"seed {seed}")
        rows = evaluate(codec=codec, suite=suite, systems=["projection"], projection=projection, seeds=[seed]).rows
        for name, column in columns.items():
            column.append([value if isinstance(value := row[name], float) else math.nan for row in rows])
    return {name: np.asarray(column).T for name, column in columns.items()}


def page(record: Mapping[str, Any]) -> str:
    """The report, as Markdown: `record["metrics"]` is metric -> "noise" or a spoiled projection -> `Noise` as JSON."""
    found = {
        name: {kind: Noise(**noise) for kind, noise in kinds.items()} for name, kinds in record["metrics"].items()
    }
    spoiled = [name for name in next(iter(found.values())) if name != "noise"]
    head = ["metric", "tolerance", "largest by noise alone", "fails by noise alone"]
    lines = [
        "# What another decoder noise does to the regression gate",
        "Written by `python benchmarks/gate_noise.py`: regenerate it, do not edit it.",
        f"{record['songs']} excerpts, {record['seeds']} seeds of the default projection, {RUN_SEEDS} a run.",
        "Equal runs under other noise: the largest mean worsening whose interval lies above zero, and how often the "
        "gate fails. Then projections with noise on their weights (in standard deviations) and an untrained one: their "
        "mean worsening, and how often the gate fails.",
        "| " + " | ".join([*head, *spoiled]) + " |",
    ]
    table = ["|---" + "|---:" * (len(head) + len(spoiled) - 1) + "|"]
    for name, kinds in found.items():
        metric, noise = quantity(name), kinds["noise"]
        places = metric.decimals + 2
        cells = [metric.heading, f"{metric.tolerance:g}", f"{noise.largest:.{places}f}", f"{noise.fails:.1%}"]
        cells += [f"{kinds[kind].worse_by:+.{places}f} ({kinds[kind].fails:.0%})" for kind in spoiled]
        table.append("| " + " | ".join(cells) + " |")
    return "\n\n".join(lines) + "\n" + "\n".join(table) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--suite", type=Path, default=Path("benchmarks/suites/gate.yaml"))
    parser.add_argument("--seeds", type=int, default=14)
    parser.add_argument("--report", type=Path, default=Path("reports"))
    chosen = parser.parse_args()
    codec = HeartCodec.from_pretrained("mini")
    good = default_projection(codec)
    seeds = range(FIRST_SEED, FIRST_SEED + chosen.seeds)
    songs = len(load_suite(chosen.suite).songs)
    print(f"{songs} songs; {chosen.seeds} seeds of the default projection, then {RUN_SEEDS} of each spoiled one")
    base = judge(codec, chosen.suite, good, seeds, print)
    found = {n: {"noise": compare_runs(v, v, quantity(n), same=True)} for n, v in base.items() if quantity(n).better}
    projections = {name: spoil(good, amount) for name, amount in SPOILED.items()} | {"untrained": untrained(codec)}
    for name, projection in projections.items():
        print(name)
        values = judge(codec, chosen.suite, projection, range(100, 100 + RUN_SEEDS), print)
        for metric, kinds in found.items():
            kinds[name] = compare_runs(base[metric], values[metric], quantity(metric), same=False)
    metrics = {name: {kind: asdict(noise) for kind, noise in kinds.items()} for name, kinds in found.items()}
    record = {"songs": songs, "seeds": chosen.seeds, "metrics": metrics}
    write_json(chosen.report / "gate_noise.json", record)
    write_text(chosen.report / "gate_noise.md", page(record))


if __name__ == "__main__":
    main()
