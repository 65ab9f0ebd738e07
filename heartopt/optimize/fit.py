"""One window's descent: the phases of the objective, each an optimizer over the vectors before the quantizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from heartopt.codec.model import HeartCodec
from heartopt.errors import HeartoptError, is_out_of_memory
from heartopt.losses import is_silent
from heartopt.optimize.objective import WindowTarget, decoded_terms, flow_losses, term_weights
from heartopt.optimize.quantize import pass_through
from heartopt.optimize.settings import OptimizeSettings
from heartopt.optimize.solver import draw_picks
from heartopt.optimize.times import TimeSampler, draw_noise
from heartopt.seeding import keyed_generator

RATE_FROM_TOKENS, RATE_FROM_ELSEWHERE = 0.005, 0.1
MOMENTUM = 0.9
#: A phase is given up after as many steps in a row without a finite gradient.
MOST_SKIPPED = 10
#: Seconds of sound decoded at once, at the least.
SHORTEST_PIECE = 0.5


@dataclass(frozen=True)
class FitStep:
    """One optimizer step.

    ``step``: from 1 on, over all phases. ``objective``: of its phase. ``loss``: of that, without the commitment; NaN
    where the gradient was not finite and the step skipped. ``stft``: loss of the decoded sound, where it was decoded.
    ``e`` ``[F, d]``: the vectors after it (their average, where iterates are averaged). ``note``: what went wrong.
    """

    step: int
    objective: str
    loss: float
    stft: float | None
    e: Tensor
    note: str | None = None


class Slope(NamedTuple):
    """A loss, its gradient ``[F, d]`` with regard to the vectors, and the STFT loss where sound was decoded."""

    loss: float
    gradient: Tensor
    stft: float | None = None


class Phase(Protocol):
    """An objective's stochastic loss of one window.

    ``generator``: of what ``draw`` draws for one step. ``halve``: use less memory, False where it cannot.
    """

    generator: torch.Generator

    def draw(self) -> Callable[[Tensor], Slope]: ...

    def halve(self) -> bool: ...


class FlowPhase:
    """`flow_losses` under noise and times drawn anew for every step, in batches of at most `at_once` draws."""

    def __init__(self, codec: HeartCodec, target: WindowTarget, settings: OptimizeSettings, window: int) -> None:
        self.flow, self.target, self.settings = codec.flow_matching, target, settings.flow
        self.generator = keyed_generator(settings.seed, "flow", window)
        self.sampler = TimeSampler(settings.flow)
        self.at_once = settings.flow.draws

    def draw(self) -> Callable[[Tensor], Slope]:
        device, (length, width) = self.target.latents.device, self.target.latents.shape
        times, weights = (drawn.to(device) for drawn in self.sampler.draw(self.generator))
        noise = draw_noise(len(times), length, width, self.generator, antithetic=self.settings.antithetic).to(device)

        def slope(vectors: Tensor) -> Slope:
            gradient, losses = torch.zeros_like(vectors), []
            parts = (values.split(self.at_once) for values in (times, weights, noise))
            for part, weight, drawn in zip(*parts, strict=True):
                found = flow_losses(self.flow, self.target, vectors, times=part, noise=drawn)
                gradient += torch.autograd.grad((weight * found).sum() / len(times), vectors)[0]
                losses.append(found.detach())
            found = torch.cat(losses)
            self.sampler.learn(times, found)
            return Slope(float((weights * found).mean()), gradient)

        return slope

    def halve(self) -> bool:
        if self.at_once == 1:
            return False
        self.at_once //= 2
        return True


class OdePhase:
    """`decoded_terms` under noise drawn anew for every step, one draw after the other."""

    def __init__(self, codec: HeartCodec, target: WindowTarget, settings: OptimizeSettings, window: int) -> None:
        self.codec, self.target, self.settings = codec, target, settings.ode
        self.guidance_scale = settings.guidance_scale
        self.generator = keyed_generator(settings.seed, "ode", window)
        self.weights = term_weights(settings.ode)

    def draw(self) -> Callable[[Tensor], Slope]:
        length, width = self.target.latents.shape
        noise = draw_noise(self.settings.draws, length, width, self.generator)
        picks = [
            draw_picks(self.settings.gradient_steps, self.settings.solver_steps, self.generator)
            for _ in range(self.settings.draws)
        ]

        def slope(vectors: Tensor) -> Slope:
            gradient, losses, stfts = torch.zeros_like(vectors), [], []
            for drawn, picked in zip(noise.to(vectors.device), picks, strict=True):
                terms = decoded_terms(
                    self.codec,
                    self.target,
                    vectors,
                    noise=drawn,
                    picks=picked,
                    guidance_scale=self.guidance_scale,
                    settings=self.settings,
                )
                loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
                gradient += torch.autograd.grad(loss, vectors)[0] / len(picks)
                losses.append(float(loss.detach()))
                stfts.append(float(terms["stft"].detach()))
            return Slope(fmean(losses), gradient, fmean(stfts))

        return slope

    def halve(self) -> bool:
        if self.settings.piece_seconds > SHORTEST_PIECE:
            shorter = max(self.settings.piece_seconds / 2, SHORTEST_PIECE)
            self.settings = replace(self.settings, piece_seconds=shorter)
            return True
        if self.settings.checkpointing:
            return False
        self.settings = replace(self.settings, checkpointing=True)
        return True


PHASES: Mapping[str, Callable[[HeartCodec, WindowTarget, OptimizeSettings, int], Phase]] = {
    "flow": FlowPhase,
    "ode": OdePhase,
}


def fit_window(
    codec: HeartCodec, target: WindowTarget, start: Tensor, *, window: int, settings: OptimizeSettings
) -> Iterator[FitStep]:
    """Refine the vectors of a window's free frames from ``start`` ``[F, d]``; yields every step.

    A silent window is not decoded: no ratio to silence means anything.

    Raises:
        HeartoptError: the gradient stays not finite.
    """
    e = start.detach().clone()
    done = 0
    for objective, count in settings.phases:
        if objective == "ode" and is_silent(target.audio):
            continue
        phase = PHASES[objective](codec, target, settings, window)
        for record in _descend(codec, target, phase, e, objective, count, window=window, settings=settings):
            e = record.e
            yield replace(record, step=done + record.step)
        done += count


def _descend(
    codec: HeartCodec,
    target: WindowTarget,
    phase: Phase,
    start: Tensor,
    objective: str,
    count: int,
    *,
    window: int,
    settings: OptimizeSettings,
) -> Iterator[FitStep]:
    """One phase, its steps numbered from 1."""
    e = start.clone().requires_grad_(True)
    optimizer = _optimizer(e, objective, settings)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(count, 1))
    generator = keyed_generator(settings.seed, objective, "quantizer", window)
    commitment = settings.flow.commitment if objective == "flow" else settings.ode.commitment
    average, losses, skipped, watched = start, [], 0, not is_silent(target.audio)
    for step in range(1, count + 1):
        note = None
        with torch.inference_mode(False), torch.enable_grad():
            passed, nearest = pass_through(
                codec.flow_matching, e, progress=(step - 1) / count, settings=settings, generator=generator
            )
            found, note = _slope(phase, passed.detach().requires_grad_(True))
            (gradient,) = torch.autograd.grad(passed, e, found.gradient)
            gradient = gradient + 2 * commitment * (e.detach() - nearest) / e.numel()
        loss = found.loss
        if math.isfinite(loss) and torch.isfinite(gradient).all():
            skipped = 0
            e.grad = gradient
            optimizer.step()
        else:
            skipped, loss = skipped + 1, math.nan
            note = f"window {window + 1}, step {step}: the gradient is not finite; the step was skipped"
            if skipped == MOST_SKIPPED:
                raise HeartoptError(
                    f"window {window + 1}: no finite gradient in {skipped} steps; use --dtype float32, or lower the "
                    "learning rate"
                )
        schedule.step()
        average = torch.lerp(e.detach(), average, settings.averaging)
        losses.append(loss)
        stft = found.stft
        if stft is None and settings.watch_every and step % settings.watch_every == 0 and watched:
            stft = _heard(codec, target, average, settings)
        yield FitStep(step, objective, loss, stft, average.clone(), note)
        if has_settled(losses, settings.patience):
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
            note = "out of memory: going on with a smaller batch"
        if vectors.device.type == "cuda":
            torch.cuda.empty_cache()


@torch.no_grad()
def _heard(codec: HeartCodec, target: WindowTarget, vectors: Tensor, settings: OptimizeSettings) -> float:
    """The STFT loss of what the nearest codes of ``vectors`` ``[F, d]`` decode to, always from the same noise."""
    length, width = target.latents.shape
    noise = draw_noise(1, length, width, keyed_generator(settings.seed, "watch"))[0].to(vectors.device)
    as_judged = replace(settings.ode, solver_steps=settings.num_steps, gradient_steps=0, mel_weight=0, shimmer_weight=0)
    quantized = codec.flow_matching.quantize(vectors[None]).vectors[0]
    terms = decoded_terms(
        codec,
        target,
        quantized,
        noise=noise,
        picks=draw_picks(0, settings.num_steps, torch.Generator()),
        guidance_scale=settings.guidance_scale,
        settings=as_judged,
    )
    return float(terms["stft"])


def _optimizer(e: Tensor, objective: str, settings: OptimizeSettings) -> torch.optim.Optimizer:
    rate = settings.ode.learning_rate
    if objective == "flow":
        usual = RATE_FROM_TOKENS if settings.start == "tokens" else RATE_FROM_ELSEWHERE
        rate = usual if settings.flow.learning_rate is None else settings.flow.learning_rate
    if settings.adaptive:
        return torch.optim.Adam([e], lr=rate)
    return torch.optim.SGD([e], lr=rate, momentum=MOMENTUM)


def has_settled(losses: list[float], patience: int | None) -> bool:
    """Whether the mean of the last ``patience`` losses is not below that of as many before."""
    if patience is None or len(losses) < 2 * patience:
        return False
    return not fmean(losses[-patience:]) < fmean(losses[-2 * patience : -patience])
