"""How many steps a budget pays for: some of everything is done and timed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from heartopt.audio import AudioSource
from heartopt.codec.model import HeartCodec
from heartopt.codec.windows import Window, WindowPlan
from heartopt.losses import is_silent
from heartopt.optimize.fit import fit_windows
from heartopt.optimize.phases import Windows
from heartopt.optimize.scores import move_codes
from heartopt.optimize.settings import OptimizeSettings
from heartopt.optimize.window import blend_shares, choose, window_target
from heartopt.seeding import keyed_generator

PROBE_STEPS = 3  # of each phase; the first of them warms up


def affordable_steps(
    source: AudioSource, codec: HeartCodec, starts: Sequence[Tensor], plan: WindowPlan, settings: OptimizeSettings
) -> int:
    """Steps a window that the budget pays for, at least 1: some of each phase and a comparison are timed.

    The comparison is also the measure of judging start and result at the end: both decode them.
    """
    began = time.perf_counter()
    codes = starts[0]
    windows: int = plan.count(codes.shape[-1])
    window: Window = next(plan.windows(codes.shape[-1]))
    target = window_target(codec, source, window, codes)
    if is_silent(target.audio):  # it would be passed over, and others are not
        noise = torch.randn(target.audio.shape, generator=keyed_generator("probe"))
        target = replace(target, audio=noise.to(target.audio.device))
    e = codec.flow_matching.code_sum(codes[None, :, : window.real])[0]
    step = 0.0
    phases = settings.phases if settings.steps else (("flow", 1),)
    for objective, count in phases:
        trial = replace(settings, objective=objective, steps=PROBE_STEPS, patience=None, budget=None)
        ticks = [time.perf_counter() for _ in fit_windows(Windows(codec, (target,), (0,)), [e], trial)]
        step += (ticks[-1] - ticks[0]) / (PROBE_STEPS - 1) * count / max(settings.steps, 1)
    compared = time.perf_counter()
    count = len(starts) + len(blend_shares(settings))
    choose(codec, target, window, candidates=[codes] * count, past=None, overlap=plan.overlap, settings=settings)
    ended = time.perf_counter()
    decoding = (ended - compared) / (count * settings.select_seeds)
    others = (len(starts) if len(starts) > 1 else 0) + (2 if settings.moves else 0)
    comparing = decoding * (settings.select_seeds * (count + others) + 2 * settings.judge_seeds)
    if settings.moves:
        once = replace(settings, moves=1)
        move_codes(codec, target, codes, slice(0, window.real), window=0, settings=once)
        comparing += settings.moves * (time.perf_counter() - ended)
    left = (settings.budget or 0.0) - (time.perf_counter() - began) - windows * comparing
    return max(1, int(left / windows / step)) if step else 1
