from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest

from heartopt.files import plain
from heartopt.training.advice import PATIENCE, SKIP_STEPS, SKIPS, USAGE_STEPS, Adviser
from heartopt.training.clips import ClipsRecord
from heartopt.training.loop import StepRecord
from heartopt.training.settings import TrainSettings
from heartopt.training.validation import ValidationRecord


def step(number: int = 1, **changed: Any) -> StepRecord:
    values: dict[str, Any] = {
        "step": number,
        "steps": 1000,
        "epoch": number / 10,
        "loss": 1.0,
        "terms": {"flow": 1.0},
        "learning_rate": 1e-3,
        "gradient_norm": 0.5,
        "usage": (400, 300),
        "skipped": False,
        "seconds": 0.1,
        "audio_seconds": 160.0,
    }
    return StepRecord(**(values | changed))


def validation(flow: float) -> ValidationRecord:
    return ValidationRecord(1, 1.0, flow, 0.1, (10, 10), (5.0, 5.0), False)


def clips(shimmer: float | str, deshimmered: dict[str, float] | None = None) -> ClipsRecord:
    metrics: Any = {"stft": 1.5, "shimmer_db": shimmer}
    return ClipsRecord(1, 1.0, metrics, "Good", False, (), deshimmered)


def settings(**changed: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "projection_type": "conv1d",
        "hidden_dim": 256,
        "latent_dim": 256,
        "batch_size": 8,
        "frames": 744,
        "steps": 1000,
        "learning_rate": 2e-3,
        "warmup_steps": 100,
        "grad_clip": 0.5,
        "weight_decay": 0.01,
        "commitment_weight": 0.25,
        "init": "codebook",
        "seed": 0,
        "max_seconds_per_song": None,
    }
    return TrainSettings(**(values | changed))


def hear(adviser: Adviser, *records: object) -> list[str]:
    return [line for record in records for line in adviser.hear(record)]


def test_a_good_run_needs_none() -> None:
    adviser = Adviser(8192)
    good = [step(k) for k in range(2 * USAGE_STEPS)], [validation(1 - 0.01 * k) for k in range(3 * PATIENCE)]
    assert hear(adviser, *good[0], *good[1], clips(2.9), clips(-4.0)) == []


@pytest.mark.parametrize("read", [lambda record: record, lambda record: json.loads(json.dumps(plain(asdict(record))))])
def test_each_cause_names_its_remedy_from_objects_and_from_lines(read: Any) -> None:
    adviser = Adviser(8192)
    poor = [read(step(k, usage=(99, 100))) for k in range(USAGE_STEPS)]
    (usage,) = hear(adviser, *poor)
    assert "--commitment-weight 0.5 or --projection-type conv1d" in usage
    (broken,) = hear(adviser, read(step(loss=math.nan, skipped=True)))
    assert "--lr 0.0005, --grad-clip 0.25 or --no-amp" in broken
    (shimmer,) = hear(adviser, read(clips(3.1)))
    assert "--highfreq-weight 1 with --include-phase" in shimmer and "3.1 dB" in shimmer
    assert "--objective bypass or ode" in shimmer and "--deshimmer" in shimmer
    (plateau,) = hear(adviser, *(read(validation(0.8)) for _ in range(PATIENCE + 1)))
    assert "more songs, a larger --hidden-dim or --lr 0.0005" in plateau
    assert all("\n" not in line for line in (usage, broken, shimmer, plateau))


def test_a_remedy_that_is_set_already_is_not_named() -> None:
    adviser = Adviser(
        8192, settings(commitment_weight=0.5, grad_clip=0.25, objective={"bypass": 1.0}, highfreq_weight=1.0)
    )
    (usage,) = hear(adviser, *(step(usage=(20, 20)) for _ in range(USAGE_STEPS)))
    assert "--commitment-weight 1" in usage and "conv1d" not in usage
    (broken,) = hear(adviser, step(loss=math.inf, skipped=True))
    assert "--lr 0.001, --grad-clip 0.125" in broken and "--no-amp" not in broken
    (shimmer,) = hear(adviser, clips(9.0, {"shimmer_db": 1.0}))
    assert "--highfreq-weight 2" in shimmer and "--objective" not in shimmer and "_deshimmered" in shimmer
    (plateau,) = hear(adviser, *(validation(0.8) for _ in range(PATIENCE + 1)))
    assert "--hidden-dim 512" in plateau
    assert "--no-amp" in hear(Adviser(8192, settings(precision="float16")), step(loss=math.nan, skipped=True))[0]


def test_said_once_until_the_cause_has_gone_and_come_back() -> None:
    adviser = Adviser(8192)
    assert len(hear(adviser, clips(4.0), clips(5.0))) == 1
    assert len(hear(adviser, clips("not installed"), clips(math.nan), clips(4.0))) == 0
    assert len(hear(adviser, clips(1.0), clips(4.0))) == 1
    bad = step(loss=math.nan, skipped=True)
    assert len(hear(adviser, bad, bad, *(step() for _ in range(SKIP_STEPS - 1)), bad)) == 1
    assert len(hear(adviser, *(step() for _ in range(SKIP_STEPS)), bad)) == 1


def test_usage_that_wavers_around_the_threshold_is_named_once() -> None:
    adviser = Adviser(8192)
    lines = [hear(adviser, *(step(usage=(usage,)) for _ in range(USAGE_STEPS))) for usage in (90, 110, 90, 130, 90)]
    assert [len(found) for found in lines] == [1, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("codebook", "audio_seconds", "told"), [(8192, 16.0, 1), (8192, 15.9, 0), (200, 160.0, 1), (199, 160.0, 0)]
)
def test_usage_counts_only_where_there_is_room_for_it(codebook: int, audio_seconds: float, told: int) -> None:
    poor = step(usage=(60, 60), audio_seconds=audio_seconds)
    assert len(hear(Adviser(codebook), *(poor for _ in range(USAGE_STEPS)))) == told


def test_usage_is_not_judged_by_a_few_steps_or_by_skipped_ones() -> None:
    poor, skipped = step(usage=(1, 1)), step(usage=(1, 1), skipped=True)
    assert hear(Adviser(8192), *(poor for _ in range(USAGE_STEPS - 1)), skipped) == []


def test_infinite_gradients_are_a_cause_only_where_there_are_many() -> None:
    overflow = step(gradient_norm=math.inf, skipped=True)
    adviser = Adviser(8192)
    assert hear(adviser, *(overflow for _ in range(SKIPS - 1))) == []
    assert len(hear(adviser, overflow)) == 1


def test_an_improvement_of_half_a_percent_is_no_plateau() -> None:
    def lines(last: float) -> list[str]:
        return hear(Adviser(8192), step(), *(validation(1.0) for _ in range(PATIENCE)), validation(last))

    assert lines(0.9949) == [] and len(lines(0.9951)) == 1


def test_a_plateau_is_no_cause_while_or_after_the_learning_rate_is_low() -> None:
    flat = [validation(1.0) for _ in range(2 * PATIENCE)]
    assert hear(Adviser(8192), *flat) == []
    assert hear(Adviser(8192), step(learning_rate=1e-3), step(learning_rate=4e-4), *flat) == []
    assert hear(Adviser(8192, settings(learning_rate=1e-2)), step(learning_rate=1e-3), *flat) == []


def test_a_plateau_that_ends_and_returns_is_told_again() -> None:
    adviser = Adviser(8192)
    flat = [validation(1.0) for _ in range(2 * PATIENCE)]
    lower = [validation(0.9) for _ in range(2 * PATIENCE)]
    assert [len(hear(adviser, *part)) for part in ([step()], flat, lower[:1], lower[1:])] == [0, 1, 0, 1]


NO_RECORDS: list[dict[str, Any]] = [
    {},
    {"kind": "song"},
    {"kind": "step"},
    {"kind": "step", "usage": "many"},
    {"kind": "clips", "metrics": 3},
    {"kind": "validation", "flow": None},
]


@pytest.mark.parametrize("record", NO_RECORDS)
def test_what_is_no_record_is_passed_over(record: dict[str, Any]) -> None:
    assert Adviser(8192).hear(record) == []
