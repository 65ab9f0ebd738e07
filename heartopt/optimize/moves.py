"""Coordinate moves: codes swapped one or two at a time where the loss itself, measured, falls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from heartopt.codec.quantizer import code_vectors
from heartopt.errors import ConfigError, HeartoptError
from heartopt.optimize.memory import in_parts

MOST_GAINS = 2**24  # float32 values at once: 64 MB

# Codes [B, K, F] -> local losses [B, F]; codes [K, F] -> the gradient [F, d] in the summed code vectors.
Score = Callable[[Tensor], Tensor]
Gradient = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class MovesResult:
    """``codes`` ``[K, F]`` int64; moves ``accepted`` of those ``tried``; total score ``before`` and ``after``."""

    codes: Tensor
    accepted: int
    tried: int
    before: float
    after: float


@dataclass(frozen=True)
class Scored:
    """Codes ``[K, F]``, their local losses ``[F]`` and the sum of these."""

    codes: Tensor
    losses: Tensor
    total: float


@dataclass(frozen=True)
class Proposals:
    """``columns`` ``[P, K, F]``: codes that each frame may take; ``worth`` ``[P, F]``: False where one is not tried."""

    columns: Tensor
    worth: Tensor


def coordinate_moves(
    codes: Tensor,
    codebooks: Tensor,
    score: Score,
    gradient: Gradient,
    *,
    free: Tensor,
    top_k: int,
    rounds: int,
    pairs: bool,
    spacing: int,
    batch: int,
    generator: torch.Generator,
    curvature: float | None = None,
) -> MovesResult:
    """Lower the total score of codes ``[K, F]`` by swaps that a quadratic model proposes; it never rises.

    Swapping codes changes a frame's summed vector by δ. The model's gain is −g·δ − λ‖δ‖²: first-order proposals as in
    HotFlip (arXiv 1712.06751) and greedy coordinate gradient (arXiv 2307.15043), kept from overshooting by λ.
    Proposals of frames that are ``spacing`` apart are scored together; each is judged by the score of the frames
    within ``spacing // 2``. The best of each frame are then combined, and the combination is scored as a whole.

    Args:
        codebooks: ``[K, V, d]``.
        score: codes ``[B, K, F]`` -> losses ``[B, F]``, lower is better; always under the same noise.
        gradient: codes ``[K, F]`` -> gradient ``[F, d]`` of the total loss in the summed code vectors. It sees the
            caller's gradient mode.
        free: ``[F]`` bool, True where codes may change.
        top_k: single swaps tried a frame and round; with ``pairs`` also as many swaps on two neighbouring levels.
        rounds: at most; fewer where no proposal promises a gain any more.
        spacing: code frames between moves that are scored together.
        batch: most candidates a call of ``score``.
        generator: of the CPU; draws which proposals are scored together.
        curvature: λ; default: measured each round by one more call of ``gradient``.

    Raises:
        ConfigError: ``top_k``, ``spacing`` or ``batch`` below 1, or ``rounds`` or ``curvature`` below 0.
        HeartoptError: a gradient that is not finite.
    """
    for name, value, least in (
        ("top_k", top_k, 1),
        ("rounds", rounds, 0),
        ("spacing", spacing, 1),
        ("batch", batch, 1),
        ("curvature", curvature or 0, 0),
    ):
        if value < least:
            raise ConfigError(f"{name} is {value}: give at least {least}")
    codebooks, free = codebooks.detach().float(), free.to(codes.device)
    losses = _losses(score, codes[None], batch)[0]
    start = state = Scored(codes, losses, float(losses.sum()))
    accepted = tried = 0
    skip = torch.zeros_like(codes[0])
    for _ in range(rounds):
        slope = gradient(state.codes).detach().float()
        if not torch.isfinite(slope).all():
            raise HeartoptError("the gradient of the score is not finite; use dtype float32")
        bend = _curvature(gradient, codebooks, state.codes, slope, free) if curvature is None else curvature
        found = _proposals(codebooks, state.codes, slope, bend, skip=skip, top_k=top_k, pairs=pairs)
        found = _shuffled(found, free, generator)
        if not found.worth.any():
            break
        gain, best = _local_gains(score, state, found, spacing=spacing, batch=batch).max(0)
        changed = found.columns[best, :, torch.arange(len(best), device=best.device)].T
        before, state = state, _combined(score, state, changed, gain, batch)
        moved = (state.codes != before.codes).any(0)
        tried += int(found.worth.sum())
        accepted += int(moved.sum())
        # A frame where nothing helped goes on with its next best proposals. One that lost its move to the combination
        # tries it again, among other neighbours.
        skip = torch.where(gain > 0, skip, skip + top_k).masked_fill(moved, 0)
    return MovesResult(state.codes, accepted, tried, start.total, state.total)


@torch.no_grad()
def _losses(score: Score, candidates: Tensor, batch: int) -> Tensor:
    """Local losses ``[N, F]`` of candidates ``[N, K, F]``, at most ``batch`` of them at a time."""
    return torch.cat([in_parts(lambda own: score(own).float(), part) for part in candidates.split(batch)])


def _curvature(gradient: Gradient, codebooks: Tensor, codes: Tensor, slope: Tensor, free: Tensor) -> float:
    """λ of the quadratic model: half of how fast the gradient changes along a step down the slope.

    All free frames step at once, on the last level, whose codes are the smallest: what neighbours do to each other
    counts, because their moves are combined.
    """
    level = codebooks[-1]
    ahead = (slope @ level.T).scatter(1, codes[-1][:, None], torch.inf).argmin(-1)
    probe = torch.cat((codes[:-1], torch.where(free, ahead, codes[-1])[None]))
    step = level[probe[-1]] - level[codes[-1]]
    bend = (step * (gradient(probe).detach().float() - slope)).sum() / step.square().sum().clamp_min(1e-30)
    return max(0.0, float(bend) / 2)


def _predicted(codebook: Tensor, base: Tensor, slope: Tensor, bend: float) -> Tensor:
    """The model's gain ``[…, V]`` for each code c of ``[V, d]`` where δ = ``base`` + c; ``base``, slope ``[…, d]``."""
    fixed = ((slope + bend * base) * base).sum(-1, keepdim=True)
    gain = (-slope - 2 * bend * base) @ codebook.T
    return gain.sub_(bend * codebook.square().sum(-1)).sub_(fixed)


def _proposals(
    codebooks: Tensor, codes: Tensor, slope: Tensor, bend: float, *, skip: Tensor, top_k: int, pairs: bool
) -> Proposals:
    """Each frame's best ``top_k`` single moves, and pair moves if wanted, after its ``skip`` ``[F]`` best ones."""
    chunk = max(1, MOST_GAINS // (codebooks.shape[1] * max(codebooks.shape[0], top_k)))
    columns, worth = [], []
    for old, g, passed in zip(codes.T.split(chunk), slope.split(chunk), skip.split(chunk), strict=True):
        vectors = code_vectors(codebooks, old.T[None])[0]
        levels = zip(codebooks, vectors, strict=True)
        gains = torch.stack([_predicted(codebook, -vector, g, bend) for codebook, vector in levels], dim=1)
        gains.scatter_(2, old[..., None], -torch.inf)
        kinds = [_singles(gains, old, int(passed.max()) + top_k)]
        if pairs and len(codebooks) > 1:
            kinds.append(_pairs(codebooks, vectors, gains, old, g, bend, top_k))
        taken = [_ranked(*kind, passed, top_k) for kind in kinds]
        columns.append(torch.cat([column for column, _ in taken], dim=1))
        worth.append(torch.cat([gain > 0 for _, gain in taken], dim=1))
    return Proposals(torch.cat(columns).permute(1, 2, 0), torch.cat(worth).T)


def _singles(gains: Tensor, old: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best swaps by ``gains`` ``[n, K, V]`` of codes ``[n, K]``: columns ``[n, P, K]`` and gains ``[n, P]``."""
    size = gains.shape[-1]
    best = gains.flatten(1).topk(min(count, gains[0].numel()))
    columns = old[:, None].repeat(1, best.indices.shape[1], 1)
    columns.scatter_(2, (best.indices // size)[..., None], (best.indices % size)[..., None])
    return columns, best.values


def _pairs(
    codebooks: Tensor, vectors: Tensor, gains: Tensor, old: Tensor, slope: Tensor, bend: float, top_k: int
) -> tuple[Tensor, Tensor]:
    """A level's ``top_k`` best swaps, each with the code of the next level that then fits best, as `_singles`."""
    columns, values = [], []
    for level in range(len(codebooks) - 1):
        first = gains[:, level].topk(min(top_k, gains.shape[-1])).indices
        base = codebooks[level][first] - (vectors[level] + vectors[level + 1])[:, None]
        value, second = _predicted(codebooks[level + 1], base, slope[:, None], bend).max(-1)
        column = old[:, None].repeat(1, first.shape[1], 1)
        column[..., level], column[..., level + 1] = first, second
        # With one of the two unchanged it is a single move.
        single = (column == old[:, None])[..., level : level + 2].any(-1)
        columns.append(column)
        values.append(value.masked_fill(single, -torch.inf))
    return torch.cat(columns, dim=1), torch.cat(values, dim=1)


def _ranked(columns: Tensor, gains: Tensor, skip: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The ``top_k`` best of columns ``[n, P, K]`` after the ``skip`` ``[n]`` best; gain −∞ beyond the last one."""
    order = gains.argsort(dim=1, descending=True, stable=True)
    rank = skip[:, None] + torch.arange(top_k, device=skip.device)
    beyond = rank >= order.shape[1]
    index = order.gather(1, rank.clamp(max=order.shape[1] - 1))
    row = torch.arange(len(columns), device=columns.device)[:, None]
    return columns[row, index], gains.gather(1, index).masked_fill(beyond, -torch.inf)


def _shuffled(found: Proposals, free: Tensor, generator: torch.Generator) -> Proposals:
    """Each free frame's proposals in an order of its own, so that the largest moves do not all meet each other."""
    worth = found.worth & free
    # Those worth trying first: candidates without any move are not scored.
    order = (torch.rand(worth.shape, generator=generator).to(worth.device) + ~worth).argsort(dim=0, stable=True)
    columns = found.columns.gather(0, order[:, None].expand_as(found.columns))
    return Proposals(columns, worth.gather(0, order))


def _local_gains(score: Score, state: Scored, found: Proposals, *, spacing: int, batch: int) -> Tensor:
    """By how much each proposal lowers the score around its frame, ``[P, F]``; −∞ where one is not worth trying."""
    phase = torch.arange(found.worth.shape[1], device=found.worth.device) % spacing
    together = found.worth[:, None] & (phase == torch.arange(spacing, device=phase.device)[:, None])
    number, offset = together.any(-1).nonzero(as_tuple=True)
    moves = together[number, offset]
    candidates = torch.where(moves[:, None], found.columns[number], state.codes)
    reach = spacing // 2
    fallen = functional.pad(state.losses - _losses(score, candidates, batch), (reach, reach))
    local = fallen.unfold(-1, 2 * reach + 1, 1).sum(-1)
    gains = local.new_full(found.worth.shape, -torch.inf)
    row, frame = moves.nonzero(as_tuple=True)
    gains[number[row], frame] = local[row, frame]
    return gains.masked_fill(gains.isnan(), -torch.inf)


def _combined(score: Score, state: Scored, changed: Tensor, gain: Tensor, batch: int) -> Scored:
    """The codes after each frame's best move ``changed`` ``[K, F]`` of local ``gain`` ``[F]``, as many as go together.

    All moves with a gain, the better half of them, a quarter … down to the best one alone: neighbours may disturb each
    other. The lowest total is kept, and the old codes where none is lower.
    """
    size = int((gain > 0).sum())
    if not size:
        return state
    rank = gain.argsort(descending=True, stable=True).argsort()
    sizes = torch.tensor([size >> halvings for halvings in range(size.bit_length())], device=rank.device)
    candidates = torch.where((rank < sizes[:, None])[:, None], changed, state.codes)
    losses = _losses(score, candidates, batch)
    totals = losses.sum(-1)
    best = int(totals.argmin())
    lowest = float(totals[best])
    return Scored(candidates[best], losses[best], lowest) if lowest < state.total else state
