from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heartopt.errors import ConfigError
from heartopt.training.settings import DEFAULT_EPOCHS, Quantize, Schedule, TrainSettings, parse_objective

GOOD = TrainSettings(
    projection_type="linear",
    hidden_dim=16,
    latent_dim=256,
    batch_size=2,
    frames=16,
    steps=10,
    learning_rate=1e-3,
    warmup_steps=2,
    grad_clip=0.5,
    weight_decay=0.0,
    commitment_weight=0.25,
    init="codebook",
    seed=0,
    max_seconds_per_song=None,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("batch_size", 10**11),
        ("hidden_dim", -1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("grad_clip", 0.0),
        ("weight_decay", float("nan")),
        ("commitment_weight", float("inf")),
        ("warmup_steps", -1),
        ("commitment_weight", -0.1),
        ("frames", 2),
        ("projection_type", "mlp"),
        ("latents", "raw"),
        ("precision", "int8"),
        ("objective", {}),
        ("objective", {"flow": 0.0}),
        ("objective", {"stft": 1.0}),
        ("highfreq_weight", -1.0),
        ("l2_weight", float("nan")),
        ("accumulate", 0),
        ("ode_steps", 0),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError):
        replace(GOOD, **{name: value})


def test_settings_are_plain_values() -> None:
    assert TrainSettings(**GOOD.as_dict()) == GOOD


def schedule(**asked: Any) -> Schedule:
    none: dict[str, Any] = {"steps": None, "epochs": None, "budget": None}
    return Schedule(**{**none, "val_interval": 1.0, "val_crops": 4, "save_interval": 10.0, "keep": 3, **asked})


@pytest.mark.parametrize("name", ["steps", "epochs", "val_interval", "val_crops", "save_interval", "keep", "budget"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_schedules_that_make_no_sense_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a number above 0"):
        schedule(**{name: value})


def test_epochs_are_counted_in_steps() -> None:
    assert schedule(steps=7).steps_for(100, 8) == 7
    assert schedule(epochs=2).steps_for(100, 8) == 25
    assert schedule().steps_for(100, 8) == DEFAULT_EPOCHS * 100 / 8
    assert schedule().steps_of(2, 100, 8) == 25
    assert schedule().steps_of(1e-9, 100, 8) == 1
    assert schedule(steps=7).steps_of(1e308, 100, 8) == 7


def test_an_objective_is_a_name_or_a_weighted_mixture() -> None:
    assert parse_objective("bypass") == {"bypass": 1.0}
    assert parse_objective("flow=1, distill=0.3") == {"flow": 1.0, "distill": 0.3}
    assert replace(GOOD, objective=parse_objective("flow,ode=0.5")).listens
    assert not GOOD.listens


@pytest.mark.parametrize("text", ["", "stft", "flow,flow", "flow=", "flow=x", "flow=-1", "flow=nan", "flow,"])
def test_objectives_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="objective"):
        parse_objective(text)


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "rounding"},
        {"dither": -0.1},
        {"top_k": 1},
        {"temperature": (0.1, 1.0)},
        {"temperature": (1.0, 0.0)},
        {"temperature": (1.0,)},
        {"entropy_weight": float("nan")},
        {"revival": -1.0},
    ],
)
def test_quantizers_that_make_no_sense_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Quantize(**changed)
