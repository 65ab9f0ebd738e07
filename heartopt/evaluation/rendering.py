"""The sound behind the rows, for those who want to hear it: cheap after an evaluation whose tokens were kept."""

from __future__ import annotations

from torch import Tensor

from heartopt.errors import ConfigError
from heartopt.evaluation.outputs import SongAudio, SystemOutput
from heartopt.evaluation.plan import Plan


def original_of(plan: Plan, file: str) -> Tensor:
    """A song `[2, N]` by the name that rows call it. Raises ConfigError for an unknown one, AudioError."""
    return SongAudio(plan, plan.find(file)).target


def audio_of(plan: Plan, file: str, system: str) -> Tensor:
    """A system's sound of a song, `[2, N]`; tokens are decoded under the first judge seed.

    Raises:
        HeartoptError: an unknown song, or the system cannot make it.
    """
    if system not in plan.systems:
        raise ConfigError(f"the evaluation has no system {system}; it has {', '.join(plan.systems)}")
    made = SystemOutput(plan, SongAudio(plan, plan.find(file)), system)
    return made.sound(plan.seeds[0])
