"""Local losses of a window's codes, frame by frame under common noise: what moves on codes are judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.codec.model import HeartCodec
from heartopt.errors import HeartoptError
from heartopt.losses import FFT_SIZES, is_silent
from heartopt.optimize.moves import MovesResult, coordinate_moves
from heartopt.optimize.objective import WindowTarget, decode_windows, listen
from heartopt.optimize.phases import PHASES, Windows
from heartopt.optimize.settings import OptimizeSettings
from heartopt.optimize.times import TimeSampler, draw_noise
from heartopt.seeding import keyed_generator

#: Proposals a frame and round; code frames between moves that are judged together; candidates at once.
TOP_K, SPACING, BATCH = 4, 8, 4
#: Noise draws that a score is the mean of: with few, moves fit these draws and nothing else.
FLOW_DRAWS, DECODED_DRAWS = 16, 3
_FLOOR = 1e-8  # of squared magnitudes, as in auraloss


@torch.inference_mode(mode=False)
def move_codes(
    codec: HeartCodec, target: WindowTarget, codes: Tensor, frames: slice, *, window: int, settings: OptimizeSettings
) -> Tensor:
    """Whole-song codes ``[K, F]`` after coordinate moves on a window's ``frames``, under the last phase's objective."""
    objective = settings.phases[-1][0]
    if objective == "ode" and is_silent(target.audio):
        return codes
    phase = PHASES[objective](Windows(codec, (target,), (window,)), settings)
    phase.generators = [keyed_generator(settings.seed, "moves", window)]
    slope = phase.draw()

    def gradient(own: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            return slope(codec.flow_matching.code_sum(own[None])[0].detach().requires_grad_(True)).gradient

    score = (flow_score if objective == "flow" else decoded_score)(codec, target, window=window, settings=settings)
    own = codes[:, frames]
    try:
        found = _moves(codec, own, score, gradient, window=window, settings=settings)
    except HeartoptError:  # no finite gradient: the codes are good without moves
        return codes
    moved = codes.clone()
    moved[:, frames] = found.codes
    return moved


def _moves(
    codec: HeartCodec,
    own: Tensor,
    score: Callable[[Tensor], Tensor],
    gradient: Callable[[Tensor], Tensor],
    *,
    window: int,
    settings: OptimizeSettings,
) -> MovesResult:
    return coordinate_moves(
        own,
        codec.flow_matching.codebooks,
        score,
        gradient,
        free=torch.ones(own.shape[1], dtype=torch.bool),
        top_k=TOP_K,
        rounds=settings.moves,
        pairs=settings.pairs,
        spacing=SPACING,
        batch=BATCH,
        generator=keyed_generator(settings.seed, "order of moves", window),
    )


def flow_score(
    codec: HeartCodec, target: WindowTarget, *, window: int, settings: OptimizeSettings
) -> Callable[[Tensor], Tensor]:
    """Codes ``[B, K, F]`` of the free frames -> each one's share ``[B, F]`` of the flow loss, the same draws always."""
    flow, generator = codec.flow_matching, keyed_generator(settings.seed, "score", window)
    length, width = target.latents.shape
    device = target.latents.device
    times = TimeSampler(replace(settings.flow, draws=FLOW_DRAWS)).draw(generator)[0].to(device)
    noise = draw_noise(len(times), length, width, generator).to(device)
    real = target.frames & ~target.context

    @torch.no_grad()
    def score(codes: Tensor) -> Tensor:
        mu = torch.cat([target.condition(flow, own) for own in flow.code_sum(codes)])
        count = len(codes) * len(times)
        errors = flow.flow_errors(
            target.latents.expand(count, -1, -1),
            mu.repeat_interleave(len(times), dim=0),
            times=times.repeat(len(codes)),
            noise=noise.repeat(len(codes), 1, 1),
            context=target.context.expand(count, -1),
        )
        errors = errors.unflatten(0, (len(codes), -1)).mean(1)[:, real]
        shares: Tensor = errors.unflatten(1, (-1, LATENTS_PER_CODE)).sum(2) / errors.shape[1]
        return shares

    return score


def decoded_score(
    codec: HeartCodec, target: WindowTarget, *, window: int, settings: OptimizeSettings
) -> Callable[[Tensor], Tensor]:
    """Codes ``[B, K, F]`` of the free frames -> each one's share ``[B, F]`` of `local_stft` of the decoded sound.

    Mean over draws that are always the same ones.
    """
    flow, generator = codec.flow_matching, keyed_generator(settings.seed, "score", window)
    length, width = target.latents.shape
    noise = draw_noise(DECODED_DRAWS, length, width, generator).to(target.latents.device)

    @torch.no_grad()
    def score(codes: Tensor) -> Tensor:
        mu = torch.cat([target.condition(flow, own) for own in flow.code_sum(codes)])
        count = len(codes) * len(noise)
        latents = decode_windows(
            flow,
            [target] * count,
            mu.repeat_interleave(len(noise), dim=0),
            noise=noise.repeat(len(codes), 1, 1),
            picks=torch.empty(count, 0),
            guidance_scale=settings.guidance_scale,
            num_steps=settings.num_steps,
        )
        sounds = (listen(codec, one[None], target, piece_seconds=settings.ode.piece_seconds) for one in latents)
        heard = [local_stft(sound, target.audio, samples=codec.samples_per_code) for sound in sounds]
        shares: Tensor = torch.stack(heard).unflatten(0, (len(codes), -1)).mean(1)
        return shares

    return score


def local_stft(estimate: Tensor, target: Tensor, *, samples: int) -> Tensor:
    """Audio ``[2, n]`` twice -> shares ``[F]`` of a multi-resolution STFT loss, F = ceil(n / ``samples``).

    As `heartopt.losses.stft_loss`, but with the spectral convergence squared, so that it is a sum over time. A
    spectrum's column counts where its centre lies. 0 is perfect.
    """
    frames = -(-target.shape[-1] // samples)
    shares = torch.zeros(frames, device=target.device)
    for size in FFT_SIZES:
        window = torch.hann_window(size, device=target.device)
        short = max(0, size - target.shape[-1])
        e, t = (
            torch.stft(torch.nn.functional.pad(x, (0, short)), size, size // 4, window=window, return_complex=True)
            for x in (estimate, target)
        )
        e, t = (x.abs().square().clamp_min(_FLOOR).sqrt() for x in (e, t))
        columns = (e.log() - t.log()).abs().mean((0, 1)) / t.shape[-1]
        columns = columns + (e - t).square().sum((0, 1)) / t.square().sum()
        place = (torch.arange(t.shape[-1], device=t.device) * (size // 4) // samples).clamp(max=frames - 1)
        shares = shares.index_add(0, place, columns / len(FFT_SIZES))
    return shares
