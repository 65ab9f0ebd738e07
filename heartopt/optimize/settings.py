"""What `heartopt optimize` may be told."""

from __future__ import annotations

import math
from dataclasses import dataclass

from heartopt.errors import ConfigError


@dataclass(frozen=True)
class OptimizeSettings:
    """Settings of one refinement; the defaults are the command's.

    Args:
        steps: optimizer steps a window.
        draws: noise draws and times a step; odd ones are paired with their antithetic neighbour.
        learning_rate: of AdamW on the pre-quantization latents, at the start of the cosine.
        commitment: weight β of ‖e − sg Q(e)‖².
        duration: seconds of a window, a multiple of 7.44; what the tokens will be decoded with; default: the codec's.
        num_steps, guidance_scale: of the decoder, where results are compared.
        select_seeds: noise seeds under which start and result are compared, window by window.
        judge_seeds: other noise seeds, under which both are measured at the end.
        seed: of every random draw.
        budget: seconds for the whole song; sets ``steps`` from the speed measured at the start.

    Raises:
        ConfigError: a value that makes no sense.
    """

    steps: int = 100
    draws: int = 4
    learning_rate: float = 0.005
    commitment: float = 0.05
    duration: float | None = None
    num_steps: int = 10
    guidance_scale: float = 1.25
    select_seeds: int = 2
    judge_seeds: int = 2
    seed: int = 0
    budget: float | None = None

    def __post_init__(self) -> None:
        for name in ("draws", "select_seeds", "judge_seeds", "num_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.steps < 0:
            raise ConfigError(f"steps is {self.steps}: give 0 or more")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate is {self.learning_rate}: give a positive number")
        for name in ("commitment", "guidance_scale"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 0 or a positive number")
        if self.budget is not None and not 0 < self.budget < math.inf:
            raise ConfigError(f"budget is {self.budget}: give seconds above 0")
