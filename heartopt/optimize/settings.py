"""What `heartopt optimize` may be told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heartopt.errors import ConfigError

OBJECTIVES = ("flow", "ode", "hybrid")
QUANTIZERS = ("straight-through", "gumbel", "soft", "none")
TIMES = ("uniform", "stratified", "importance")
STARTS = ("tokens", "zero", "random")


@dataclass(frozen=True)
class FlowSettings:
    """The phase that fits the decoder's own training loss.

    Args:
        draws: noises and times of a step.
        times: ``uniform``; ``stratified``: one in each of `draws` equal parts; ``importance``: more where the loss
            is large, weighted back (Nichol & Dhariwal, arXiv 2102.09672).
        antithetic: every other noise is the negative of the one before it.
        learning_rate: at the start of the cosine; none: 0.005 from tokens, 0.1 from elsewhere.
        commitment: weight β of the mean square of e − sg Q(e).
    """

    draws: int = 4
    times: str = "stratified"
    antithetic: bool = True
    learning_rate: float | None = None
    commitment: float = 0.05

    def __post_init__(self) -> None:
        _at_least("draws", self.draws, 1)
        _one_of("times", self.times, TIMES)
        if self.learning_rate is not None:
            _positive("learning_rate", self.learning_rate)
        _not_negative("commitment", self.commitment)


@dataclass(frozen=True)
class OdeSettings:
    """The phase that decodes to sound: STFT loss + weighted mel distance + weighted 4-8 kHz term.

    Args:
        draws: noises of a step.
        solver_steps: Euler steps; guided as the result is judged.
        gradient_steps: how many of them the gradient is taken through, drawn anew each time, with the path of the
            noise held still; 0: through all of them, path and all, as the training report does.
        mel_weight, shimmer_weight: of `heartopt.losses.mel_distance` and `stft_hf`.
        learning_rate: at the start of the cosine.
        commitment: weight β of the mean square of e − sg Q(e).
        piece_seconds: seconds of sound that are decoded at once; memory grows with it, and where a window has several
            pieces each is computed twice.
        checkpointing: compute a solver step's inner values again on the way back instead of keeping them.
    """

    draws: int = 1
    solver_steps: int = 8
    gradient_steps: int = 2
    mel_weight: float = 1.0
    shimmer_weight: float = 0.0
    learning_rate: float = 0.015
    commitment: float = 100.0
    piece_seconds: float = 7.44
    checkpointing: bool = False

    def __post_init__(self) -> None:
        _at_least("draws", self.draws, 1)
        _at_least("solver_steps", self.solver_steps, 1)
        if not 0 <= self.gradient_steps <= self.solver_steps:
            raise ConfigError(f"gradient_steps is {self.gradient_steps}: give 0 to solver_steps ({self.solver_steps})")
        for name in ("learning_rate", "piece_seconds"):
            _positive(name, getattr(self, name))
        for name in ("mel_weight", "shimmer_weight", "commitment"):
            _not_negative(name, getattr(self, name))


@dataclass(frozen=True)
class OptimizeSettings:
    """Settings of one refinement; the defaults are the command's (`PRESETS`' ``standard``).

    Args:
        objective: ``flow``, ``ode``, or ``hybrid``: `flow` first, then `ode`.
        steps: optimizer steps a window.
        flow_share: of the steps of ``hybrid``.
        flow, ode: of the two phases.
        quantizer: in the loop: ``straight-through`` (arXiv 1308.3432); ``gumbel``: a draw among the `top_k` nearest
            codes of each level at a falling temperature (arXiv 2006.04240); ``soft``: their mean, which hardens
            (arXiv 1704.00648); ``none``: rounded at the end only.
        top_k, temperature: of ``gumbel`` and ``soft``; from start to end by equal factors.
        start: where the vectors begin: at the start ``tokens``, at ``zero``, or at a ``random`` place.
        adaptive: precondition by the gradient's second moments (Adam, arXiv 1412.6980); else momentum alone.
        averaging: decay of the exponential average of the iterates, which is then the result; 0: the last one is.
        patience: end a phase where the mean loss of this many steps is not below that of as many before.
        windows_at_once: windows that are fitted together, to fill the device; all but the first then see the starting
            codes, not the refined ones, in the frames that they share with the window before.
        beam: width of the beam search over levels that quantizes the result; 1: greedily.
        moves: rounds of coordinate moves on codes after the gradient.
        pairs: also move the codes of two neighbouring levels at once.
        duration: seconds of a window, a multiple of 7.44; what the tokens will be decoded with; default: the codec's.
        num_steps, guidance_scale: of the decoder, where results are compared.
        select_seeds: noise seeds under which start and result are compared, window by window.
        judge_seeds: other noise seeds, under which both are measured at the end.
        watch_every: decode every so many steps of ``flow`` too, for the one who looks on; 0: never.
        seed: of every random draw.
        budget: seconds for the whole song; sets ``steps`` from the speed measured at the start.

    Raises:
        ConfigError: a value that makes no sense.
    """

    objective: str = "hybrid"
    steps: int = 40
    flow_share: float = 0.4
    flow: FlowSettings = field(default_factory=FlowSettings)
    ode: OdeSettings = field(default_factory=OdeSettings)
    quantizer: str = "straight-through"
    top_k: int = 32
    temperature: tuple[float, float] = (3.0, 0.3)
    start: str = "tokens"
    adaptive: bool = True
    averaging: float = 0.0
    patience: int | None = None
    windows_at_once: int = 1
    beam: int = 1
    moves: int = 0
    pairs: bool = False
    duration: float | None = None
    num_steps: int = 10
    guidance_scale: float = 1.25
    select_seeds: int = 2
    judge_seeds: int = 2
    watch_every: int = 0
    seed: int = 0
    budget: float | None = None

    def __post_init__(self) -> None:
        _one_of("objective", self.objective, OBJECTIVES)
        _one_of("quantizer", self.quantizer, QUANTIZERS)
        _one_of("start", self.start, STARTS)
        for name in ("select_seeds", "judge_seeds", "num_steps", "windows_at_once", "beam"):
            _at_least(name, getattr(self, name), 1)
        for name in ("steps", "moves", "watch_every"):
            _at_least(name, getattr(self, name), 0)
        _at_least("top_k", self.top_k, 2)
        if self.patience is not None:
            _at_least("patience", self.patience, 1)
        if not 0 <= self.flow_share <= 1:
            raise ConfigError(f"flow_share is {self.flow_share}: give 0 to 1")
        if not 0 <= self.averaging < 1:
            raise ConfigError(f"averaging is {self.averaging}: give 0 to below 1")
        first, last = self.temperature
        if not 0 < last <= first < math.inf:
            raise ConfigError(f"temperature is {first} to {last}: give two positive numbers, the second no higher")
        _not_negative("guidance_scale", self.guidance_scale)
        if self.budget is not None and not 0 < self.budget < math.inf:
            raise ConfigError(f"budget is {self.budget}: give seconds above 0")

    @property
    def phases(self) -> tuple[tuple[str, int], ...]:
        """The objectives in their order, with their steps."""
        if self.objective != "hybrid":
            return ((self.objective, self.steps),)
        first = round(self.flow_share * self.steps)
        return (("flow", first), ("ode", self.steps - first))


#: What ``--preset`` sets.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "draft": {"objective": "flow", "steps": 40},
    "standard": {},  # the defaults above
    "best": {"objective": "hybrid", "steps": 64, "flow_share": 0.25, "select_seeds": 4},
}


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}: choose from {', '.join(choices)}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name} is {value}: give at least {least}")


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ConfigError(f"{name} is {value}: give a positive number")


def _not_negative(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ConfigError(f"{name} is {value}: give 0 or a positive number")
