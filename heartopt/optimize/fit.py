"""One window's descent: the phases of the objective, each an optimizer over the vectors before the quantizer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor

from heartopt.errors import HeartoptError, is_out_of_memory
from heartopt.losses import is_silent
from heartopt.optimize.memory import SMALLER
from heartopt.optimize.objective import decode_windows, sound_terms
from heartopt.optimize.phases import PHASES, Phase, Slope, Windows
from heartopt.optimize.quantize import pass_through
from heartopt.optimize.settings import OptimizeSettings
from heartopt.optimize.times import draw_noise
from heartopt.seeding import keyed_generator

RATE_FROM_TOKENS, RATE_FROM_ELSEWHERE = 0.005, 0.1
MOMENTUM = 0.9
#: A phase is given up after as many steps in a row without a finite gradient.
MOST_SKIPPED = 10


@dataclass(frozen=True)
class FitStep:
    """One optimizer step of one or more windows, a value a window.

    ``step``: from 1 on, over all phases. ``objective``: of its phase. ``losses``: of that, without the commitment; NaN
    where the gradient was not finite and the step skipped. ``stfts``: losses of the decoded sound, NaN where it was not
    decoded. ``vectors`` ``[F, d]``: after the step (their average, where iterates are averaged). ``note``: what went
    wrong.
    """

    step: int
    objective: str
    losses: tuple[float, ...]
    stfts: tuple[float, ...]
    vectors: tuple[Tensor, ...]
    note: str | None = None


def fit_windows(windows: Windows, starts: Sequence[Tensor], settings: OptimizeSettings) -> Iterator[FitStep]:
    """Refine the vectors of the windows' free frames from ``starts`` ``[F, d]`` together; yields every step.

    Silent ones are not fitted to their sound: no ratio to silence means anything.

    Raises:
        HeartoptError: the gradient stays not finite.
    """
    e = torch.cat([start.detach() for start in starts])
    done = 0
    for objective, count in settings.phases:
        if objective == "ode" and all(is_silent(target.audio) for target in windows.targets):
            continue
        for record in _descend(windows, PHASES[objective](windows, settings), e, objective, count, settings):
            e = torch.cat(record.vectors)
            yield replace(record, step=done + record.step)
        done += count


def _descend(
    windows: Windows, phase: Phase, start: Tensor, objective: str, count: int, settings: OptimizeSettings
) -> Iterator[FitStep]:
    """One phase, its steps numbered from 1."""
    with torch.inference_mode(False):
        e = start.clone().requires_grad_(True)
    flow = windows.codec.flow_matching
    optimizer = _optimizer(e, objective, settings)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(count, 1))
    generator = keyed_generator(settings.seed, objective, "quantizer", windows.numbers[0])
    commitment = settings.flow.commitment if objective == "flow" else settings.ode.commitment
    sizes = torch.tensor([len(own) for own in windows.split(e)], device=e.device)
    scale = (2 * commitment / (sizes * e.shape[1])).repeat_interleave(sizes)[:, None]
    history: list[list[float]] = [[] for _ in windows.targets]
    average, skipped = start, 0
    for step in range(1, count + 1):
        with torch.inference_mode(False), torch.enable_grad():
            passed, nearest = pass_through(flow, e, progress=(step - 1) / count, settings=settings, generator=generator)
            found, note = _slope(phase, passed.detach().requires_grad_(True))
            (gradient,) = torch.autograd.grad(passed, e, found.gradient)
        e.grad = gradient + scale * (e.detach() - nearest)
        kept = [
            math.isfinite(loss) and bool(torch.isfinite(own).all())
            for loss, own in zip(found.losses, windows.split(e.grad), strict=True)
        ]
        skipped = 0 if all(kept) else skipped + 1
        if skipped:
            note = note or "the gradient was not finite: a step was skipped"
        if skipped == MOST_SKIPPED:
            named = ", ".join(str(number + 1) for number, good in zip(windows.numbers, kept, strict=True) if not good)
            raise HeartoptError(
                f"window {named}: no finite gradient in {skipped} steps: use --dtype float32; with it, look at the song"
            )
        if all(kept):  # else all wait: the optimizer's averages are theirs together
            optimizer.step()
            schedule.step()
        average = torch.lerp(e.detach(), average, settings.averaging)
        losses = tuple(loss if good else math.nan for loss, good in zip(found.losses, kept, strict=True))
        stfts = found.stfts
        if objective == "flow" and settings.watch_every and step % settings.watch_every == 0:
            stfts = _heard(windows, average, settings)
        yield FitStep(step, objective, losses, stfts, windows.split(average.clone()), note)
        for own, loss in zip(history, losses, strict=True):
            own.append(loss)
        if all(has_settled(own, settings.patience) for own in history):
            return


def _slope(phase: Phase, vectors: Tensor) -> tuple[Slope, str | None]:
    """One draw's slope; where memory runs out, the same draw in smaller pieces, and a note that says so."""
    slope, note = phase.draw(), None
    while True:
        try:
            return slope(vectors), note
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or not phase.halve():
                raise
            note = SMALLER
        if vectors.device.type == "cuda":
            torch.cuda.empty_cache()


@torch.no_grad()
def _heard(windows: Windows, vectors: Tensor, settings: OptimizeSettings) -> tuple[float, ...]:
    """The STFT losses of what the nearest codes of ``vectors`` ``[ΣF, d]`` decode to, always from the same noise."""
    codec, targets = windows.codec, windows.targets
    length, width = targets[0].latents.shape
    noise = draw_noise(1, length, width, keyed_generator(settings.seed, "watch")).to(vectors.device)
    conditions = windows.conditions(codec.flow_matching.quantize(vectors[None]).vectors[0])
    heard = []
    for target, mu in zip(targets, conditions, strict=True):
        if is_silent(target.audio):
            heard.append(math.nan)
            continue
        latents = decode_windows(
            codec.flow_matching,
            [target],
            mu[None],
            noise=noise,
            picks=torch.empty(1, 0),
            guidance_scale=settings.guidance_scale,
            num_steps=settings.num_steps,
        )
        heard.append(float(sound_terms(codec, target, latents[0], settings.ode)["stft"]))
    return tuple(heard)


def _optimizer(e: Tensor, objective: str, settings: OptimizeSettings) -> torch.optim.Optimizer:
    rate = settings.ode.learning_rate
    if objective == "flow":
        usual = RATE_FROM_TOKENS if settings.start == "tokens" else RATE_FROM_ELSEWHERE
        rate = usual if settings.flow.learning_rate is None else settings.flow.learning_rate
    if settings.adaptive:
        return torch.optim.Adam([e], lr=rate)
    return torch.optim.SGD([e], lr=rate, momentum=MOMENTUM)


def has_settled(losses: list[float], patience: int | None) -> bool:
    """Whether the mean of the last ``patience`` losses is not below that of as many before; NaN is passed over."""
    counted = [loss for loss in losses if not math.isnan(loss)]
    if patience is None or len(counted) < 2 * patience:
        return False
    return fmean(counted[-patience:]) >= fmean(counted[-2 * patience : -patience])
