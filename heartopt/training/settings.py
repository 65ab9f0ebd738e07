"""What one training run is defined by; written into checkpoints and cards."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heartopt.errors import ConfigError
from heartopt.projection.network import PROJECTION_TYPES

OBJECTIVES = ("flow", "bypass", "ode", "distill")
#: Objectives that compare audio: the spectral losses' settings act in them alone.
LISTENING = ("bypass", "ode")
QUANTIZERS = ("straight-through", "gumbel")
#: Far above any that trains; float32 holds what the optimizer makes of it.
HIGHEST_RATE = 1000.0
#: Of one step in one process: far more than any memory holds.
MOST_CROPS = 100_000
PRECISIONS = ("float32", "bfloat16", "float16")


def check_above_zero(name: str, value: float) -> None:
    """Raise ConfigError where `value` is not a finite number above 0."""
    if not 0 < value < math.inf:
        raise ConfigError(f"{name} must be a number above 0, got {value}")


def check_not_negative(name: str, value: float) -> None:
    """Raise ConfigError where `value` is not a finite number of 0 or more."""
    if not 0 <= value < math.inf:
        raise ConfigError(f"{name} must be a number of 0 or more, got {value}")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ConfigError where `value` is none of `choices`."""
    if value not in choices:
        raise ConfigError(f"{name} {value!r}: choose one of {', '.join(choices)}")


def parse_objective(text: str) -> dict[str, float]:
    """`"flow"`, or a weighted mixture such as `"flow=1,distill=0.3"`. Raises ConfigError."""
    mixture: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        check_choice("objective", name, OBJECTIVES)
        if name in mixture:
            raise ConfigError(f"objective {text!r}: {name} is named twice")
        try:
            mixture[name] = float(number) if equals else 1.0
        except ValueError:
            raise ConfigError(f"objective {text!r}: {number!r} is not a number") from None
        check_above_zero(f"objective {text!r}: the weight of {name}", mixture[name])
    return mixture


@dataclass(frozen=True)
class Quantize:
    """The quantizer in the training loop. What is trained is always judged with the plain nearest codes.

    `kind`: "straight-through", or "gumbel" (softmax over the `top_k` nearest codes of each level, with noise).
    `dither`: noise added before quantization at the start of the run, in units of the codebooks' standard
    deviation; it falls linearly to a tenth of that. `temperature`: of gumbel, from start to end, geometrically.
    `entropy_weight`: of the term that asks for many codes; `revival`: pressure towards codes that are hardly used.
    """

    kind: str = "straight-through"
    dither: float = 0.0
    top_k: int = 64
    temperature: tuple[float, float] = (1.0, 0.1)
    entropy_weight: float = 0.1
    revival: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", tuple(self.temperature))  # JSON has no tuples
        check_choice("quantizer", self.kind, QUANTIZERS)
        for name in ("dither", "entropy_weight", "revival"):
            check_not_negative(name, getattr(self, name))
        for value in self.temperature:
            check_above_zero("temperature", value)
        if len(self.temperature) != 2 or self.temperature[0] < self.temperature[1]:
            raise ConfigError(f"temperature must be start and end, the end no higher; got {list(self.temperature)}")
        if self.top_k < 2:
            raise ConfigError(f"top_k must be at least 2, got {self.top_k}")


@dataclass(frozen=True)
class TrainSettings:
    """Settings that change the trained weights. Their defaults are those of `heartopt.training.train`.

    `frames`: latent frames of a crop (even). `batch_size`: crops of one step in one process; `accumulate` such batches
    make an optimizer step. `steps`: optimizer steps of the whole run, over which the learning rate warms up and falls.
    `latent_dim`: what the projection reads, the latents of the channels' mean or of left | right; `latents`: after the
    last tanh, or before it. `objective`: weights of the objectives by name. `ode_steps`: Euler steps of `ode`.
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
    latents: str = "tanh"
    objective: Mapping[str, float] = field(default_factory=lambda: {"flow": 1.0})
    quantize: Quantize = field(default_factory=Quantize)
    accumulate: int = 1
    mel_weight: float = 0.5
    l2_weight: float = 0.001
    include_phase: bool = False
    highfreq_weight: float = 0.0
    ode_steps: int = 4
    precision: str = "float32"

    def __post_init__(self) -> None:
        if isinstance(self.quantize, Mapping):  # as JSON has it
            object.__setattr__(self, "quantize", Quantize(**self.quantize))
        for name in ("hidden_dim", "batch_size", "steps", "accumulate", "ode_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.batch_size * self.accumulate > MOST_CROPS:
            raise ConfigError(f"batch_size {self.batch_size} x {self.accumulate}: at most {MOST_CROPS} crops a step")
        for name in ("learning_rate", "grad_clip"):
            check_above_zero(name, getattr(self, name))
        if self.learning_rate > HIGHEST_RATE:
            raise ConfigError(f"learning_rate must be at most {HIGHEST_RATE:g}, got {self.learning_rate:g}")
        for name in (
            "warmup_steps",
            "weight_decay",
            "commitment_weight",
            "mel_weight",
            "l2_weight",
            "highfreq_weight",
        ):
            check_not_negative(name, getattr(self, name))
        if self.frames < 4:
            raise ConfigError("max_duration must be at least 0.16 seconds (four latent frames)")
        check_choice("projection type", self.projection_type, PROJECTION_TYPES)
        check_choice("latents", self.latents, ("tanh", "pre_tanh"))
        check_choice("precision", self.precision, PRECISIONS)
        if not self.objective:
            raise ConfigError(f"no objective: choose one or more of {', '.join(OBJECTIVES)}")
        for name, weight in self.objective.items():
            check_choice("objective", name, OBJECTIVES)
            check_above_zero(f"the weight of objective {name}", weight)

    @property
    def listens(self) -> bool:
        """Whether an objective compares audio."""
        return any(name in LISTENING for name in self.objective)

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
    val_crops: int
    save_interval: float
    keep: int
    budget: float | None

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise ConfigError("steps and epochs are both given: give one of the two")
        for name, value in dataclasses.asdict(self).items():
            if value is not None:
                check_above_zero(name, value)

    def steps_for(self, items: int, global_batch: int) -> int:
        """Optimizer steps of the run, where an epoch has `items` crops and a step takes `global_batch` of them."""
        if self.steps is not None:
            return self.steps
        return math.ceil((DEFAULT_EPOCHS if self.epochs is None else self.epochs) * items / global_batch)

    def steps_of(self, epochs: float, items: int, global_batch: int) -> int:
        """`epochs` in steps, at least one and at most the whole run."""
        asked = epochs * items / global_batch
        return max(1, round(min(asked, self.steps_for(items, global_batch))))
