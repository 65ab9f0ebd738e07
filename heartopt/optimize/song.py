"""A whole song, window by window: fit, compare, keep the better."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

from torch import Tensor

from heartopt.audio import AudioSource, AudioTensor
from heartopt.codec.encoding import source_frames
from heartopt.codec.model import HeartCodec
from heartopt.codec.windows import Window, WindowPlan
from heartopt.errors import AudioError, TokenError
from heartopt.optimize.settings import OptimizeSettings
from heartopt.optimize.window import BLENDS, blends, choose, fit_window, window_target
from heartopt.projection import EncoderProjection, tokenize_source

PROBE_STEPS = 3  # the first of them warms up


@dataclass(frozen=True)
class Progress:
    """One optimizer step of a song: window ``window`` of ``windows``, step ``step`` of ``steps``, its flow loss."""

    window: int
    windows: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True)
class WindowReport:
    """Mean STFT loss of the start and of the best other candidate under the selection seeds; which of them is kept."""

    start: float
    result: float
    improved: bool


@dataclass(frozen=True)
class OptimizeResult:
    """``tokens`` and ``start_tokens`` ``[K, F]`` int64; ``steps`` a window; one report and loss curve a window."""

    tokens: Tensor
    start_tokens: Tensor
    steps: int
    windows: tuple[WindowReport, ...]
    losses: tuple[tuple[float, ...], ...]

    @property
    def codes_changed(self) -> int:
        return int((self.tokens != self.start_tokens).sum())


def optimize_steps(
    source: AudioSource, codec: HeartCodec, start_tokens: Tensor, settings: OptimizeSettings
) -> Generator[Progress, None, OptimizeResult]:
    """Refine a song's tokens ``[K, F]``; yields after every step and returns the result.

    Windows go from left to right: a window's kept codes are fixed, and its kept latents are the context under which
    the next one is compared. Only one window's audio is in memory.

    Raises:
        TokenError: ``start_tokens`` are not the codec's, or not as long as the song.
    """
    _check(codec, source, start_tokens)
    plan = codec.window_plan(settings.duration)
    codes, frames = start_tokens.to(codec.flow_matching.codebooks.device), start_tokens.shape[-1]
    if settings.budget is not None:
        settings = replace(settings, steps=_affordable_steps(source, codec, codes, plan, settings))
    reports, curves = [], []
    past: Tensor | None = None
    for window in plan.windows(frames):
        target = window_target(codec, source, window, codes)
        first, last = window.start + window.context, window.start + window.real
        start = e = codec.flow_matching.code_sum(codes[None, :, first:last])[0]
        curve = []
        for record in fit_window(codec, target, e, window=window.index, settings=settings):
            e = record.e
            curve.append(record.loss)
            yield Progress(window.index, plan.count(frames), record.step, settings.steps, record.loss)
        candidates = [codes, *blends(codec, codes, slice(first, last), start, e)]
        choice = choose(
            codec, source, window, candidates=candidates, past=past, overlap=plan.overlap, settings=settings
        )
        codes, past = choice.codes, choice.past
        reports.append(WindowReport(choice.scores[0], min(choice.scores[1:]), choice.kept > 0))
        curves.append(tuple(curve))
    return OptimizeResult(codes.cpu(), start_tokens.cpu(), settings.steps, tuple(reports), tuple(curves))


def optimize_source(
    source: AudioSource,
    codec: HeartCodec,
    start_tokens: Tensor,
    *,
    settings: OptimizeSettings | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> OptimizeResult:
    """`optimize_steps` to its end, ``progress`` called after every step."""
    steps = optimize_steps(source, codec, start_tokens, settings or OptimizeSettings())
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
    init: Tensor | EncoderProjection,
    *,
    settings: OptimizeSettings | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> OptimizeResult:
    """Refine one song's tokens through the residual VQ until the frozen decoder can use them best.

    Args:
        audio: one song at 48 kHz, ``[1, N]`` or ``[1, 2, N]``.
        init: where to start: tokens ``[K, F]``, or a projection that makes them.

    Raises:
        AudioError: audio of another shape, or more than one song.
        TokenError, CheckpointError: as `optimize_steps` and `tokenize_source`.
    """
    if audio.ndim not in (2, 3) or audio.shape[0] != 1:
        raise AudioError(f"audio of shape {list(audio.shape)}: give one song, [1, N] or [1, 2, N]")
    source = AudioTensor(audio if audio.ndim == 2 else audio[0])
    start = tokenize_source(source, codec, init) if isinstance(init, EncoderProjection) else init
    return optimize_source(source, codec, start, settings=settings, progress=progress)


def _check(codec: HeartCodec, source: AudioSource, tokens: Tensor) -> None:
    expected = (codec.config.num_quantizers, source_frames(codec, source))
    if tuple(tokens.shape) != expected or tokens.is_floating_point():
        raise TokenError(f"start tokens {tokens.dtype} {list(tokens.shape)}: this song takes integers {list(expected)}")
    if tokens.min() < 0 or tokens.max() >= codec.config.codebook_size:
        raise TokenError(
            f"start tokens reach {int(tokens.max())}: the codec's codes are 0 to {codec.config.codebook_size - 1}"
        )


def _affordable_steps(
    source: AudioSource, codec: HeartCodec, codes: Tensor, plan: WindowPlan, settings: OptimizeSettings
) -> int:
    """Steps a window that the budget pays for, at least 1: a few steps and a comparison are timed on the first window.

    The comparison is also the measure of judging start and result at the end: both decode them.
    """
    began = time.perf_counter()
    windows: int = plan.count(codes.shape[-1])
    window: Window = next(plan.windows(codes.shape[-1]))
    target = window_target(codec, source, window, codes)
    e = codec.flow_matching.code_sum(codes[None, :, : window.real])[0]
    trial = replace(settings, steps=PROBE_STEPS, budget=None)
    ticks = [time.perf_counter() for _ in fit_window(codec, target, e, window=0, settings=trial)]
    candidates = [codes] * (1 + len(BLENDS))
    choose(codec, source, window, candidates=candidates, past=None, overlap=plan.overlap, settings=settings)
    ended = time.perf_counter()
    judging = 2 * settings.judge_seeds / (len(candidates) * settings.select_seeds)
    comparing = (ended - ticks[-1]) * (1 + judging)
    step = (ticks[-1] - ticks[0]) / (PROBE_STEPS - 1)
    left = (settings.budget or 0.0) - (ended - began) - windows * comparing
    return max(1, int(left / windows / step))
