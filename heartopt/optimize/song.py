"""A whole song, window by window: fit, compare, keep the better."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

import torch
from torch import Tensor

from heartopt.audio import AudioSource, AudioTensor
from heartopt.codec.encoding import source_frames
from heartopt.codec.model import HeartCodec
from heartopt.codec.windows import Window, WindowPlan
from heartopt.errors import AudioError, TokenError
from heartopt.optimize.budget import affordable_steps
from heartopt.optimize.fit import FitStep, fit_windows
from heartopt.optimize.journal import Done, Journal, WindowCurve, WindowReport
from heartopt.optimize.phases import Windows
from heartopt.optimize.quantize import first_vectors
from heartopt.optimize.scores import move_codes
from heartopt.optimize.settings import OptimizeSettings
from heartopt.optimize.window import Choice, blends, choose, window_target
from heartopt.projection import EncoderProjection, tokenize_source
from heartopt.seeding import keyed_generator


@dataclass(frozen=True)
class Progress:
    """One optimizer step of a song.

    Step ``step`` of ``steps`` of ``together`` windows from ``window`` (from 0) on, of ``windows``: the ``loss`` of the
    ``objective``, the STFT loss of the decoded sound where it was decoded, the share of these windows' codes that
    differ from the start's, and a ``note`` where something went wrong.
    """

    window: int
    together: int
    windows: int
    step: int
    steps: int
    objective: str
    loss: float
    stft: float | None
    changed: float
    note: str | None = None


@dataclass(frozen=True)
class OptimizeResult:
    """``tokens`` and ``start_tokens`` ``[K, F]`` int64; ``steps`` a window; a report and a curve of each window."""

    tokens: Tensor
    start_tokens: Tensor
    steps: int
    windows: tuple[WindowReport, ...]
    curves: tuple[WindowCurve, ...]
    notes: tuple[str, ...] = ()

    @property
    def codes_changed(self) -> int:
        return int((self.tokens != self.start_tokens).sum())


def optimize_steps(
    source: AudioSource,
    codec: HeartCodec,
    start_tokens: Tensor | Sequence[Tensor],
    settings: OptimizeSettings,
    *,
    journal: Journal | None = None,
) -> Generator[Progress, None, OptimizeResult]:
    """Refine a song's tokens ``[K, F]``; yields after every step and returns the result.

    Windows go from left to right: a window's kept codes are fixed, and its kept latents are the context under which
    the next one is compared. In memory is the audio of the windows that are fitted together. Of several starts each
    window takes the one that decodes best; the first of them is the one that the result is never worse than. With a
    journal, windows that it holds are not done again.

    Raises:
        TokenError: ``start_tokens`` are not the codec's, or not as long as the song.
        OutputError: the journal cannot be written.
    """
    starts = [start_tokens] if isinstance(start_tokens, Tensor) else list(start_tokens)
    if not starts:
        raise TokenError("no start tokens: give at least one set")
    for tokens in starts:
        _check(codec, source, tokens)
    device = codec.flow_matching.codebooks.device
    starts = [tokens.to(device, torch.int64) for tokens in starts]
    plan, frames = codec.window_plan(settings.duration), starts[0].shape[-1]
    done = _begin(source, codec, starts, plan, settings, journal)
    settings = replace(settings, steps=done.steps)
    codes, past = done.codes.to(device), done.past.to(device) if done.windows else None
    reports, curves, notes = list(done.windows), list(done.curves), list(done.notes)
    left = itertools.islice(plan.windows(frames), len(reports), None)
    while group := tuple(itertools.islice(left, settings.windows_at_once)):
        work = refine_windows(codec, source, group, plan.overlap, codes, starts, past, settings)
        made: list[FitStep] = []
        while True:
            try:
                record, changed = next(work)
            except StopIteration as end:
                choices: list[Choice] = end.value
                break
            made.append(replace(record, vectors=()))
            notes += [] if record.note is None else [record.note]
            yield _progress(group, plan.count(frames), settings.steps, record, changed)
        codes, past = choices[-1].codes, choices[-1].past
        for place, choice in enumerate(choices):
            reports.append(WindowReport(choice.scores[0], min(choice.scores[1:]), choice.kept > 0))
            losses = tuple(record.losses[place] for record in made)
            curves.append(WindowCurve(tuple(record.objective for record in made), losses))
        if journal is not None:
            journal.write(Done(codes, past, settings.steps, tuple(reports), tuple(curves), tuple(notes)))
    return OptimizeResult(codes.cpu(), starts[0].cpu(), settings.steps, tuple(reports), tuple(curves), counted(notes))


def _begin(
    source: AudioSource,
    codec: HeartCodec,
    starts: Sequence[Tensor],
    plan: WindowPlan,
    settings: OptimizeSettings,
    journal: Journal | None,
) -> Done:
    """What the journal holds, else nothing done yet, with the steps that a budget pays for."""
    done = None if journal is None else journal.read()
    if done is None:
        budget = settings.budget
        steps = settings.steps if budget is None else affordable_steps(source, codec, starts, plan, settings)
        done = Done(starts[0].clone(), torch.empty(0), steps, (), (), ())
        if journal is not None:
            journal.write(done)
    return done


def _progress(group: Sequence[Window], windows: int, steps: int, record: FitStep, changed: float) -> Progress:
    heard = fmean(record.stfts)
    return Progress(
        window=group[0].index,
        together=len(group),
        windows=windows,
        step=record.step,
        steps=steps,
        objective=record.objective,
        loss=fmean(record.losses),
        stft=None if math.isnan(heard) else heard,
        changed=changed,
        note=record.note,
    )


def counted(notes: Sequence[str]) -> tuple[str, ...]:
    """Each note once, with how often it was made."""
    times = Counter(notes)
    return tuple(note if count == 1 else f"{note} ({count} times)" for note, count in times.items())


def refine_windows(
    codec: HeartCodec,
    source: AudioSource,
    group: Sequence[Window],
    overlap: int,
    codes: Tensor,
    starts: Sequence[Tensor],
    past: Tensor | None,
    settings: OptimizeSettings,
) -> Generator[tuple[FitStep, float], None, list[Choice]]:
    """Neighbouring windows of a song with ``codes`` ``[K, F]``: fitted together, then searched and compared in turn.

    Yields each step with the share of changed codes; returns the choices. ``past``: see `choose`.
    """
    flow = codec.flow_matching
    spans = [slice(window.start + window.context, window.start + window.real) for window in group]
    targets = [window_target(codec, source, window, codes) for window in group]
    firsts = []
    for window, frames, target in zip(group, spans, targets, strict=True):
        chosen = starts[0]
        if len(starts) > 1:
            begun = [_with_frames(codes, tokens, frames) for tokens in starts]
            known = past if window is group[0] else None  # what the others will go on from is not decided yet
            found = choose(codec, target, window, candidates=begun, past=known, overlap=overlap, settings=settings)
            chosen = found.codes
        generator = keyed_generator(settings.seed, "start", window.index)
        firsts.append(first_vectors(flow, chosen[:, frames], settings, generator))
    windows = Windows(codec, tuple(targets), tuple(window.index for window in group))
    fitted: Sequence[Tensor] = firsts
    begins = torch.cat([starts[0][:, frames] for frames in spans], dim=1)
    for record in fit_windows(windows, firsts, settings):
        fitted = record.vectors
        changed = flow.quantize(torch.cat(fitted)[None]).codes[0] != begins
        yield record, float(changed.float().mean())
    choices = []
    for window, frames, target, first, last in zip(group, spans, targets, firsts, fitted, strict=True):
        begun = [_with_frames(codes, tokens, frames) for tokens in starts]
        candidates = [*begun, *blends(codec, codes, frames, first, last, settings)]
        compare = partial(choose, codec, target, window, past=past, overlap=overlap, settings=settings)
        choice = compare(candidates=candidates)
        if settings.moves:
            fixed = flow.code_sum(choice.codes[None, :, window.positions(codes.shape[-1]).to(codes.device)])[0]
            target = replace(target, fixed=fixed)
            moved = move_codes(codec, target, choice.codes, frames, window=window.index, settings=settings)
            last_choice = compare(candidates=[choice.codes, moved])
            scores = (*choice.scores, last_choice.scores[1])
            kept = len(candidates) if last_choice.kept else choice.kept
            choice = replace(last_choice, scores=scores, kept=kept)
        choices.append(choice)
        codes, past = choice.codes, choice.past
    return choices


def _with_frames(codes: Tensor, tokens: Tensor, frames: slice) -> Tensor:
    """``codes`` ``[K, F]`` with ``frames`` of ``tokens``."""
    result = codes.clone()
    result[:, frames] = tokens[:, frames]
    return result


def optimize_source(
    source: AudioSource,
    codec: HeartCodec,
    start_tokens: Tensor | Sequence[Tensor],
    *,
    settings: OptimizeSettings | None = None,
    journal: Journal | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> OptimizeResult:
    """`optimize_steps` to its end, ``progress`` called after every step."""
    steps = optimize_steps(source, codec, start_tokens, settings or OptimizeSettings(), journal=journal)
    while True:
        try:
            record = next(steps)
        except StopIteration as end:
            result: OptimizeResult = end.value
            return result
        if progress is not None:
            progress(record)


def optimize_tokens(
    audio: Tensor,
    codec: HeartCodec,
    init: Tensor | EncoderProjection | Sequence[Tensor | EncoderProjection],
    *,
    settings: OptimizeSettings | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> OptimizeResult:
    """Refine one song's tokens through the residual VQ until the frozen decoder can use them best.

    Args:
        audio: one song at 48 kHz, ``[1, N]`` or ``[1, 2, N]``.
        init: where to start: tokens ``[K, F]``, a projection that makes them, or several of these to choose from.

    Raises:
        AudioError: audio of another shape, or more than one song.
        TokenError, CheckpointError: as `optimize_steps` and `tokenize_source`.
    """
    if audio.ndim not in (2, 3) or audio.shape[0] != 1:
        raise AudioError(f"audio of shape {list(audio.shape)}: give one song, [1, N] or [1, 2, N]")
    source = AudioTensor(audio if audio.ndim == 2 else audio[0])
    several = [init] if isinstance(init, Tensor | EncoderProjection) else init
    starts = [tokenize_source(source, codec, one) if isinstance(one, EncoderProjection) else one for one in several]
    return optimize_source(source, codec, starts, settings=settings, progress=progress)


def _check(codec: HeartCodec, source: AudioSource, tokens: Tensor) -> None:
    expected = (codec.config.num_quantizers, source_frames(codec, source))
    if tuple(tokens.shape) != expected or tokens.is_floating_point() or tokens.dtype == torch.bool:
        raise TokenError(f"start tokens {tokens.dtype} {list(tokens.shape)}: this song takes integers {list(expected)}")
    if tokens.min() < 0 or tokens.max() >= codec.config.codebook_size:
        raise TokenError(
            f"start tokens reach {int(tokens.max())}: the codec's codes are 0 to {codec.config.codebook_size - 1}"
        )
