from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heartopt.errors import ConfigError
from heartopt.training.settings import DEFAULT_EPOCHS, Schedule, TrainSettings

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
        ("init", "zero"),
        ("projection_type", "mlp"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError):
        replace(GOOD, **{name: value})


def test_settings_are_plain_values() -> None:
    assert TrainSettings(**GOOD.as_dict()) == GOOD


def schedule(**asked: Any) -> Schedule:
    none: dict[str, Any] = {"steps": None, "epochs": None, "budget": None}
    return Schedule(**{**none, "val_interval": 1.0, "val_samples": 4, "save_interval": 10, **asked})


@pytest.mark.parametrize("name", ["steps", "epochs", "val_interval", "val_samples", "save_interval", "budget"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_schedules_that_make_no_sense_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a number above 0"):
        schedule(**{name: value})


def test_epochs_are_counted_in_steps() -> None:
    assert schedule(steps=7).steps_for(100, 8) == 7
    assert schedule(epochs=2).steps_for(100, 8) == 25
    assert schedule().steps_for(100, 8) == DEFAULT_EPOCHS * 100 / 8
    assert schedule(val_interval=2).steps_between_validations(100, 8) == 25
    assert schedule(val_interval=1e-9).steps_between_validations(100, 8) == 1
    assert schedule(steps=7, val_interval=1e308).steps_between_validations(100, 8) == 7
