"""The training loop: a generator of step records. Its caller logs, validates, saves and stops."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from heartopt.audio import SAMPLE_RATE
from heartopt.codec import HeartCodec
from heartopt.errors import HeartoptError
from heartopt.projection import EncoderProjection
from heartopt.training.crops import Batch, CropSequence
from heartopt.training.draws import Draws, step_draws
from heartopt.training.model import Trained
from heartopt.training.objectives import Terms, code_counts, objective_terms, term_weights, weighted
from heartopt.training.prefetch import prefetched
from heartopt.training.settings import TrainSettings
from heartopt.training.world import ALONE, World

#: Steps in a row without a finite loss and gradient after which training stops.
MAX_SKIPPED_IN_A_ROW = 20
#: How much of the counts of codes is kept from step to step: about the last hundred steps count.
USAGE_DECAY = 0.99


class TrainingError(HeartoptError):
    """Training cannot go on."""


@dataclass
class TrainState:
    """All that changes during a run; `step` is the number of steps done (skipped ones counted).

    `usage` `[K, V]`: how often each code was chosen, an exponential average. Random draws, the order of the songs and
    the learning rate are functions of the seed and the step, so there is nothing else to keep. `judges`: a digest of
    what the best "flow" and "stft" were measured on.
    """

    model: Trained
    optimizer: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    usage: Tensor
    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    best_flow: float = math.inf
    best_step: int = -1
    best_stft: float = math.inf
    best_stft_step: int = -1
    judges: dict[str, str] = field(default_factory=dict)

    @property
    def projection(self) -> EncoderProjection:
        return self.model.projection


@dataclass(frozen=True)
class StepRecord:
    """One training step. `terms`: the loss' unweighted terms; `usage`: distinct codes of each level in this batch.

    A `skipped` step changed nothing: its loss or gradient was not finite. `epoch` is fractional; `seconds` the step's
    wall time, in which `audio_seconds` of music were learnt from.
    """

    step: int
    steps: int
    epoch: float
    loss: float
    terms: Mapping[str, float]
    learning_rate: float
    gradient_norm: float
    usage: tuple[int, ...]
    skipped: bool
    seconds: float
    audio_seconds: float
    kind: str = field(default="step", init=False)


@dataclass(frozen=True)
class Source:
    """Where batches come from. `workers`: threads that read ahead."""

    crops: CropSequence
    world: World = ALONE
    workers: int = 0

    def items(self, step: int, part: int, settings: TrainSettings) -> range:
        """Item numbers of this process' batch `part` of optimizer step `step`."""
        first = step * self.global_batch(settings)
        first += (part * self.world.size + self.world.rank) * settings.batch_size
        return range(first, first + settings.batch_size)

    def global_batch(self, settings: TrainSettings) -> int:
        """Crops of one optimizer step, over all processes."""
        return settings.batch_size * settings.accumulate * self.world.size

    def read(self, step: int, settings: TrainSettings) -> list[tuple[Batch, Draws]]:
        """This process' batches of a step, and what they need at random."""
        total = self.global_batch(settings)
        parts = []
        for part in range(settings.accumulate):
            items = self.items(step, part, settings)
            batch = self.crops.batch(items)
            own = [item - step * total for item in items]
            parts.append((batch, step_draws(settings, step=step, items=own, total=total, batch=batch)))
        return parts


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Linear warm-up to the peak over `warmup_steps`, then a cosine to zero at `steps`; a function of `step`
    alone.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only: biases and norms keep their scale."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )


def make_scaler(device: torch.device, settings: TrainSettings, weights: torch.dtype) -> torch.amp.GradScaler:
    """Loss scaling for float16, in which gradients would underflow: of the arithmetic, or of the codec's `weights`.

    Does nothing in other precisions.
    """
    return torch.amp.GradScaler(device.type, enabled=settings.precision == "float16" or weights == torch.float16)


def train_steps(
    state: TrainState, *, codec: HeartCodec, source: Source, settings: TrainSettings
) -> Iterator[StepRecord]:
    """Train `state` in place from `state.step` to `settings.steps`, one record a step.

    The caller may stop, save or validate between records: nothing is kept outside `state`.

    Raises:
        TrainingError: `MAX_SKIPPED_IN_A_ROW` steps in a row had no finite loss and gradient.
    """
    with closing(
        prefetched(lambda step: source.read(step, settings), range(state.step, settings.steps), source.workers)
    ) as read:
        while state.step < settings.steps:
            began = time.perf_counter()
            parts = next(read)
            rate = learning_rate(state.step, settings)
            outcome = take_step(state, parts, codec=codec, settings=settings, world=source.world, rate=rate)
            yield StepRecord(
                step=state.step,
                steps=settings.steps,
                epoch=state.step * source.global_batch(settings) / len(source.crops),
                loss=outcome.loss,
                terms=outcome.terms,
                learning_rate=rate,
                gradient_norm=outcome.gradient_norm,
                usage=outcome.usage,
                skipped=not outcome.applied,
                seconds=time.perf_counter() - began,
                audio_seconds=outcome.frames * codec.hop / SAMPLE_RATE,
            )
            run_dry = state.step >= settings.steps and state.skipped == state.step
            if run_dry or state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
                raise TrainingError(
                    f"stopped at step {state.step}: {state.skipped_in_a_row} steps in a row had a loss or gradient "
                    f"that is not finite; try --lr {settings.learning_rate / 2:g}, --grad-clip 0.25, "
                    "a longer --warmup-steps, or --no-amp and --dtype float32"
                )


@dataclass(frozen=True)
class Outcome:
    """What one optimizer step came to, over all processes; `frames`: latent frames learnt from."""

    loss: float
    terms: dict[str, float]
    gradient_norm: float
    usage: tuple[int, ...]
    frames: int
    applied: bool


def take_step(
    state: TrainState,
    parts: list[tuple[Batch, Draws]],
    *,
    codec: HeartCodec,
    settings: TrainSettings,
    world: World,
    rate: float,
) -> Outcome:
    """One optimizer step at learning rate `rate` over the batches `parts`, whose gradients are averaged."""
    device = state.projection.device
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.model.train()
    state.optimizer.zero_grad(set_to_none=True)
    results: list[Terms] = []
    losses: list[Tensor] = []
    for batch, draws in parts:
        result, loss = _loss(state, batch.to(device), draws.to(device), codec=codec, settings=settings)
        # Detached: the graph of a loss that is not finite, and has no way back, must not outlive its part.
        results.append(replace(result, terms={name: term.detach() for name, term in result.terms.items()}))
        losses.append(loss.detach())
        if math.isfinite(float(losses[-1])):
            state.scaler.scale(loss / len(parts)).backward()
        del result, loss
    finite = all(math.isfinite(float(loss)) for loss in losses)
    norm, applied = _update(state, settings, world, finite)
    counts = sum(code_counts(result.codes, result.real, codec.config.codebook_size) for result in results)
    assert isinstance(counts, Tensor)
    counts = world.sum(counts.float())
    if applied:
        state.usage = USAGE_DECAY * state.usage + counts.to(state.usage)
    state.step += 1
    state.skipped += not applied
    state.skipped_in_a_row = 0 if applied else state.skipped_in_a_row + 1
    names = list(results[0].terms)
    values = torch.stack(
        [torch.stack([*(r.terms[n] for n in names), loss]) for r, loss in zip(results, losses, strict=True)]
    )
    mean = (world.sum(values.mean(0)) / world.size).tolist()
    frames = torch.tensor(float(sum(int(batch.real.sum()) for batch, _ in parts)))
    return Outcome(
        loss=mean[-1],
        terms=dict(zip(names, mean, strict=False)),
        gradient_norm=norm,
        usage=tuple((counts > 0).sum(1).tolist()),
        frames=int(world.sum(frames)),
        applied=applied,
    )


def _loss(
    state: TrainState, batch: Batch, draws: Draws, *, codec: HeartCodec, settings: TrainSettings
) -> tuple[Terms, Tensor]:
    half = settings.precision != "float32"
    dtype = getattr(torch, settings.precision) if half else None
    with torch.autocast(batch.inputs.device.type, dtype=dtype, enabled=half):
        result = objective_terms(
            state.model,
            codec,
            batch,
            draws,
            settings=settings,
            progress=min(1.0, state.step / max(1, settings.steps - 1)),  # a range test may take more steps
            usage=state.usage.to(batch.inputs.device),
        )
    return result, weighted(result.terms, term_weights(settings))


def _update(state: TrainState, settings: TrainSettings, world: World, finite: bool) -> tuple[float, bool]:
    """One optimizer step, if all losses and gradients are finite: (the gradient's norm before clipping, whether)."""
    if world.any(not finite):
        return math.nan, False
    world.average_gradients(state.model.parameters())
    state.scaler.unscale_(state.optimizer)
    norm = float(nn.utils.clip_grad_norm_(state.model.parameters(), settings.grad_clip))
    if math.isfinite(norm):
        state.scaler.step(state.optimizer)
    state.scaler.update()
    return norm, math.isfinite(norm)
