"""The training loop: a generator of step records. Its caller logs, validates, saves and stops."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from heartopt.codec import HeartCodec
from heartopt.errors import HeartoptError
from heartopt.projection import EncoderProjection
from heartopt.training.crops import CropSequence
from heartopt.training.draws import step_draws
from heartopt.training.objectives import Terms, code_counts, flow_terms, weighted
from heartopt.training.settings import TrainSettings

#: Steps in a row without a finite loss and gradient after which training stops.
MAX_SKIPPED_IN_A_ROW = 20


class TrainingError(HeartoptError):
    """Training cannot go on."""


@dataclass
class TrainState:
    """All that changes during a run; `step` is the number of steps done (skipped ones counted)."""

    projection: EncoderProjection
    optimizer: torch.optim.AdamW
    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    best_flow: float = math.inf
    best_step: int = -1


@dataclass(frozen=True)
class StepRecord:
    """One training step. `usage`: distinct codes of each level in this batch. A `skipped` step changed
    nothing: its loss or gradient was not finite. `epoch` is fractional; `seconds` the step's wall time.
    """

    step: int
    steps: int
    epoch: float
    loss: float
    flow: float
    commitment: float
    learning_rate: float
    gradient_norm: float
    usage: tuple[int, ...]
    skipped: bool
    seconds: float
    kind: str = field(default="step", init=False)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Linear warm-up to the peak over `warmup_steps`, then a cosine to zero at `steps`; a function of `step`
    alone.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def make_optimizer(projection: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only: biases and norms keep their scale."""
    matrices = [p for p in projection.parameters() if p.dim() > 1]
    others = [p for p in projection.parameters() if p.dim() <= 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )


def train_steps(
    state: TrainState, *, codec: HeartCodec, crops: CropSequence, settings: TrainSettings
) -> Iterator[StepRecord]:
    """Train `state` in place from `state.step` to `settings.steps`, one record a step.

    The caller may stop, save or validate between records: nothing is kept outside `state`.

    Raises:
        TrainingError: `MAX_SKIPPED_IN_A_ROW` steps in a row had no finite loss and gradient.
    """
    device = next(state.projection.parameters()).device
    while state.step < settings.steps:
        began = time.perf_counter()
        step = state.step
        batch = crops.batch(step, settings.batch_size)
        draws = step_draws(
            seed=settings.seed,
            step=step,
            real=batch.real,
            channels=batch.targets.shape[-1],
        ).to(device)
        batch = batch.to(device)
        rate = learning_rate(step, settings)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.projection.train()
        result = flow_terms(state.projection, codec, batch, draws)
        weights = {"flow": 1.0, "commitment": settings.commitment_weight}
        loss = weighted(result.terms, weights)
        norm, applied = _update(state, loss, settings.grad_clip)
        state.step += 1
        state.skipped += not applied
        state.skipped_in_a_row = 0 if applied else state.skipped_in_a_row + 1
        yield StepRecord(
            step=state.step,
            steps=settings.steps,
            epoch=state.step * settings.batch_size / len(crops),
            loss=float(loss.detach()),
            flow=float(result.terms["flow"].detach()),
            commitment=float(result.terms["commitment"].detach()),
            learning_rate=rate,
            gradient_norm=norm,
            usage=_usage(result, codec.config.codebook_size),
            skipped=not applied,
            seconds=time.perf_counter() - began,
        )
        if state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"stopped at step {state.step}: {state.skipped_in_a_row} steps in a row had a loss or "
                "gradient that is not finite; train with a lower --lr or a longer --warmup-steps, "
                "or run the codec in float32"
            )


def _update(state: TrainState, loss: Tensor, grad_clip: float) -> tuple[float, bool]:
    """One optimizer step, if loss and gradient are finite: (the gradient's norm before clipping, whether)."""
    state.optimizer.zero_grad(set_to_none=True)
    if not math.isfinite(float(loss.detach())):
        return math.nan, False
    loss.backward()
    norm = float(nn.utils.clip_grad_norm_(state.projection.parameters(), grad_clip))
    if not math.isfinite(norm):
        return norm, False
    state.optimizer.step()
    return norm, True


def _usage(result: Terms, codebook_size: int) -> tuple[int, ...]:
    counts = code_counts(result.codes, result.real, codebook_size)
    return tuple((counts > 0).sum(1).tolist())
