"""What one training run is defined by; written into checkpoints and cards."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from heartopt.errors import ConfigError
from heartopt.projection.network import PROJECTION_TYPES


def check_above_zero(name: str, value: float) -> None:
    """Raise ConfigError where `value` is not a finite number above 0."""
    if not 0 < value < math.inf:
        raise ConfigError(f"{name} must be a number above 0, got {value}")


@dataclass(frozen=True)
class TrainSettings:
    """Settings that change the trained weights. Their defaults are those of `heartopt.training.train`.

    `frames`: latent frames of a crop (even). `steps`: optimizer steps of the whole run, over which the
    learning rate warms up and falls. `latent_dim`: what the projection reads, the latents of the channels' mean or of
    left | right.
    """

    projection_type: str
    hidden_dim: int
    latent_dim: int
    batch_size: int
    frames: int
    steps: int
    learning_rate: float
    warmup_steps: int
    grad_clip: float
    weight_decay: float
    commitment_weight: float
    init: str
    seed: int
    max_seconds_per_song: float | None

    def __post_init__(self) -> None:
        for name in ("hidden_dim", "batch_size", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "grad_clip"):
            check_above_zero(name, getattr(self, name))
        for name in ("warmup_steps", "weight_decay", "commitment_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be a number of 0 or more, got {getattr(self, name)}")
        if self.frames < 4:
            raise ConfigError("max_duration must be at least 0.16 seconds (four latent frames)")
        if self.projection_type not in PROJECTION_TYPES:
            raise ConfigError(f"projection type {self.projection_type!r}: choose one of {', '.join(PROJECTION_TYPES)}")
        if self.init not in ("codebook", "random"):
            raise ConfigError(f'init must be "codebook" or "random", got "{self.init}"')

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


#: Length of a run that says neither steps nor epochs.
DEFAULT_EPOCHS = 100


@dataclass(frozen=True)
class Schedule:
    """How long to train and how often to look, as asked for; see `heartopt.training.train`."""

    steps: int | None
    epochs: int | None
    val_interval: float
    val_samples: int
    save_interval: int
    budget: float | None

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise ConfigError("steps and epochs are both given: give one of the two")
        for name, value in dataclasses.asdict(self).items():
            if value is not None:
                check_above_zero(name, value)

    def steps_for(self, items: int, batch_size: int) -> int:
        """Steps of the run, where an epoch has `items` crops."""
        if self.steps is not None:
            return self.steps
        return math.ceil((DEFAULT_EPOCHS if self.epochs is None else self.epochs) * items / batch_size)

    def steps_between_validations(self, items: int, batch_size: int) -> int:
        """`val_interval` epochs of `items` crops in steps, at least one and at most the whole run."""
        asked = self.val_interval * items / batch_size
        return max(1, round(min(asked, self.steps_for(items, batch_size))))
