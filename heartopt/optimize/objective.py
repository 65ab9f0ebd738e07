"""The two losses of a window as functions of the vectors that its decoder is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heartopt.codec.flow import FlowMatching
from heartopt.codec.model import HeartCodec
from heartopt.codec.solver import solve
from heartopt.losses import LOSSES
from heartopt.optimize.listening import decode_pieces
from heartopt.optimize.settings import OdeSettings


@dataclass(frozen=True)
class WindowTarget:
    """What one window is fitted to.

    ``latents`` ``[L, C]``: the song's latents, filled as the decoder fills a short window.
    ``audio`` ``[2, n]``: the song where the window is new, without context and filling.
    ``fixed`` ``[W, d]``: summed code vectors of frames that are not to change (context and filling).
    ``free`` ``[W]`` int64: for each frame of the window the row of ``e`` that it takes, or −1 for ``fixed``.
    ``context`` ``[L]``: latents that the decoder is given. ``frames`` ``[L]``: latents that exist in the song.
    """

    latents: Tensor
    audio: Tensor
    fixed: Tensor
    free: Tensor
    context: Tensor
    frames: Tensor

    @property
    def context_frames(self) -> int:
        return int(self.context.sum())

    def condition(self, flow: FlowMatching, vectors: Tensor) -> Tensor:
        """The window's condition ``[1, L, D]`` where its free frames have ``vectors`` ``[F, d]``."""
        own = torch.where((self.free >= 0)[:, None], vectors[self.free.clamp(min=0)], self.fixed)
        return flow.condition_from(own[None])


def flow_losses(
    flow: FlowMatching, targets: Sequence[WindowTarget], mu: Tensor, *, times: Tensor, noise: Tensor
) -> Tensor:
    """‖v(x_t, context, mu) − (z − (1 − σ) x₀)‖² of each item ``[B]``: a window's target under ``mu`` ``[B, L, D]``.

    The decoder's training loss (HeartMuLa, arXiv 2601.10547, Eq. 3; conditional flow matching, arXiv 2210.02747) with
    the condition as the unknown. ``times`` ``[B]``, ``noise`` ``[B, L, C]``.
    """
    return flow.flow_loss(
        torch.stack([target.latents for target in targets]),
        mu,
        times=times,
        noise=noise,
        context=torch.stack([target.context for target in targets]),
        frames=torch.stack([target.frames for target in targets]),
    )


def decode_windows(
    flow: FlowMatching,
    targets: Sequence[WindowTarget],
    mu: Tensor,
    *,
    noise: Tensor,
    picks: Tensor,
    guidance_scale: float,
    num_steps: int,
    checkpointing: bool = False,
) -> Tensor:
    """Latents ``[B, L, C]`` of windows under ``mu`` ``[B, L, D]``, from ``noise`` ``[B, L, C]``.

    The song's own latents are the context. ``picks`` ``[B, m]``: the steps that the gradient goes through, see `solve`.
    """
    context = torch.stack([target.context for target in targets])
    latents = torch.stack([target.latents for target in targets])
    return solve(
        flow,
        noise,
        mu,
        known=latents * context[..., None],
        context=context,
        num_steps=num_steps,
        guidance_scale=guidance_scale,
        picks=picks,
        checkpointing=checkpointing,
    )


def sound_terms(codec: HeartCodec, target: WindowTarget, latents: Tensor, settings: OdeSettings) -> dict[str, Tensor]:
    """Losses of the sound of a window's latents ``[L, C]``, unweighted, a scalar each."""
    audio = listen(codec, latents[None], target, piece_seconds=settings.piece_seconds)
    return {name: LOSSES[loss](audio, target.audio) for name, loss in terms_of(settings).items()}


def terms_of(settings: OdeSettings) -> dict[str, str]:
    """The terms that have a weight, by name, as names of `heartopt.losses.LOSSES`."""
    wanted = {"stft": "stft"}
    if settings.mel_weight:
        wanted["mel"] = "mel"
    if settings.shimmer_weight:
        wanted["shimmer"] = "stft_hf"
    return wanted


def term_weights(settings: OdeSettings) -> dict[str, float]:
    """Weights with the keys of `terms_of`."""
    weights = {"stft": 1.0, "mel": settings.mel_weight, "shimmer": settings.shimmer_weight}
    return {name: weights[name] for name in terms_of(settings)}


def listen(codec: HeartCodec, latents: Tensor, target: WindowTarget, *, piece_seconds: float | None = None) -> Tensor:
    """Latents ``[1, L, C]`` -> the audio ``[2, n]`` of the window's new frames, as `HeartCodec.decode_latents` of all.

    ``piece_seconds``: of what is decoded at once; None: everything.
    """
    first, samples = target.context_frames, target.audio.shape[-1]
    last = first + -(-samples // codec.hop)
    rate = codec.config.sample_rate / codec.hop
    piece = last - first if piece_seconds is None else max(1, round(piece_seconds * rate))
    return decode_pieces(codec, latents, first, last, piece)[0, :, :samples]
