from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heartopt.errors import ConfigError
from heartopt.training.settings import TrainSettings

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
        ("grad_clip", 0.0),
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
