"""What one training run is defined by; written into checkpoints and cards."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from heartopt.errors import ConfigError
from heartopt.projection.network import PROJECTION_TYPES


@dataclass(frozen=True)
class TrainSettings:
    """Settings that change the trained weights. Their defaults are those of `heartopt.training.train`.

    `frames`: latent frames of a crop (even). `steps`: optimizer steps of the whole run, over which the
    learning rate warms up and falls. `mono`: the projection reads the latents of the channels' mean.
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
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("warmup_steps", "weight_decay", "commitment_weight"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.frames < 4:
            raise ConfigError("max_duration must be at least 0.16 seconds (four latent frames)")
        if self.projection_type not in PROJECTION_TYPES:
            raise ConfigError(f"projection type {self.projection_type!r}: choose one of {', '.join(PROJECTION_TYPES)}")
        if self.init not in ("codebook", "random"):
            raise ConfigError(f'init must be "codebook" or "random", got "{self.init}"')

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)
