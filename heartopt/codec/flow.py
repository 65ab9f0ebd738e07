"""Flow matching: from codes to a condition, from a condition and noise to latents, and the loss behind both."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from heartopt.codec.config import HeartCodecConfig
from heartopt.codec.quantizer import Quantized, build_residual_vq, code_vectors, nearest_codes
from heartopt.codec.transformer import Estimator

SIGMA_MIN = 1e-6
LATENTS_PER_CODE = 2


def per_item(values: Tensor) -> Tensor:
    """``[B]`` -> ``[B, 1, 1]``."""
    return values[:, None, None]


class FlowMatching(nn.Module):
    """Conditional flow matching over stereo latents (arXiv 2210.02747; HeartMuLa, arXiv 2601.10547, Eq. 3).

    Time runs from 0 (noise ``x_0``) to 1 (latents ``x_1``): ``x_t = (1 − (1 − σ) t) x_0 + t x_1`` with σ = 1e−6.
    """

    def __init__(self, config: HeartCodecConfig) -> None:
        super().__init__()
        self.vq_embed = build_residual_vq(config)
        self.cond_feature_emb = nn.Linear(config.dim, config.dim)
        # Belongs to frames outside a window's latents; heartopt's windows have none.
        self.zero_cond_embedding1 = nn.Parameter(torch.randn(config.dim))
        self.estimator = Estimator(
            in_channels=config.in_channels,
            out_channels=config.out_channels,
            heads=config.num_attention_heads,
            head_dim=config.attention_head_dim,
            layers=config.num_layers,
            layers_2=config.num_layers_2,
        )

    @property
    def codebooks(self) -> Tensor:
        """The codes' vectors ``[K, V, d]``."""
        return cast(Tensor, self.vq_embed.codebooks)

    def project_in(self, features: Tensor) -> Tensor:
        """Features ``[B, F, D]`` -> pre-quantization vectors ``[B, F, d]``."""
        return cast(Tensor, self.vq_embed.project_in(features))

    def quantize(self, e: Tensor) -> Quantized:
        """Pre-quantization vectors ``[B, F, d]`` -> their greedy residual codes, without gradient."""
        return nearest_codes(self.codebooks, e)

    def code_sum(self, codes: Tensor) -> Tensor:
        """Codes ``[B, K, F]`` -> the sum of their vectors ``[B, F, d]``."""
        return code_vectors(self.codebooks, codes).sum(1)

    def condition_from(self, vectors: Tensor) -> Tensor:
        """Summed code vectors ``[B, F, d]`` -> the estimator's condition mu ``[B, 2F, D]``; differentiable."""
        features = self.vq_embed.project_out(vectors)
        mu = self.cond_feature_emb(features.to(self.cond_feature_emb.weight.dtype))
        return cast(Tensor, mu.repeat_interleave(LATENTS_PER_CODE, dim=1))

    def condition(self, codes: Tensor) -> Tensor:
        """Codes ``[B, K, F]`` -> the estimator's condition mu ``[B, 2F, D]``."""
        return self.condition_from(self.code_sum(codes))

    def flow_loss(
        self,
        latents: Tensor,
        mu: Tensor,
        *,
        times: Tensor,
        noise: Tensor,
        context: Tensor | None = None,
        frames: Tensor | None = None,
    ) -> Tensor:
        """The decoder's own training loss: mean squared error of the velocity, per item ``[B]``, in float32.

        See `flow_errors`; frames that are context or not ``frames`` ``[B, L]`` (the filling of a short window) are not
        counted.
        """
        errors = self.flow_errors(latents, mu, times=times, noise=noise, context=context)
        counted = torch.ones_like(errors) if frames is None else frames.float()
        if context is not None:
            counted = counted * ~context
        return (errors * counted).sum(1) / counted.sum(1).clamp_min(1)

    def flow_errors(
        self, latents: Tensor, mu: Tensor, *, times: Tensor, noise: Tensor, context: Tensor | None = None
    ) -> Tensor:
        """Mean squared error of the velocity of each frame ``[B, L]``, in float32.

        Args:
            latents: targets ``[B, L, C]``.
            mu: condition ``[B, L, D]``.
            times: ``[B]`` in [0, 1].
            noise: ``x_0`` ``[B, L, C]``.
            context: ``[B, L]``, True where the latents are given to the estimator.
        """
        known = torch.zeros_like(latents) if context is None else latents * context[..., None]
        t = per_item(times)
        x_t = (1 - (1 - SIGMA_MIN) * t) * noise + t * latents
        velocity = self.estimator(torch.cat((x_t, known, mu.to(x_t.dtype)), dim=-1), timestep=times)
        return cast(Tensor, (velocity.float() - (latents - (1 - SIGMA_MIN) * noise)).square().mean(-1))

    def solve_euler(
        self,
        noise: Tensor,
        mu: Tensor,
        *,
        context: Tensor | None = None,
        context_frames: int = 0,
        num_steps: int = 10,
        guidance_scale: float = 1.25,
    ) -> Tensor:
        """Integrate noise ``[B, L, C]`` to latents ``[B, L, C]`` in uniform Euler steps; differentiable.

        Args:
            mu: condition ``[B, L, D]``.
            context: context latents ``[B, L, C]`` that the estimator sees; none means zeros.
            context_frames: the first frames of ``context`` are known: before each step ``x`` is put onto their path.
            guidance_scale: classifier-free guidance (arXiv 2207.12598) against a zero condition, where above 1.
        """
        known = torch.zeros_like(noise) if context is None else context.to(noise.dtype)
        x = noise
        for step in range(num_steps):
            t = step / num_steps
            if context_frames:
                mix = (1 - (1 - SIGMA_MIN) * t) * noise[:, :context_frames] + t * known[:, :context_frames]
                x = torch.cat((mix, x[:, context_frames:]), dim=1)
            x = x + self.guided_velocity(x, known, mu, t, guidance_scale) / num_steps
        return x

    def decode(
        self,
        noise: Tensor,
        mu: Tensor,
        *,
        past: Tensor | None = None,
        num_steps: int = 10,
        guidance_scale: float = 1.25,
    ) -> Tensor:
        """One window's latents ``[B, L, C]``, going on from ``past`` ``[B, P, C]`` (kept as it is); differentiable."""
        if past is None:
            return self.solve_euler(noise, mu, num_steps=num_steps, guidance_scale=guidance_scale)
        frames = past.shape[1]
        context = torch.cat((past.to(noise.dtype), torch.zeros_like(noise[:, frames:])), dim=1)
        x = self.solve_euler(
            noise, mu, context=context, context_frames=frames, num_steps=num_steps, guidance_scale=guidance_scale
        )
        return torch.cat((context[:, :frames], x[:, frames:]), dim=1)

    def guided_velocity(self, x: Tensor, known: Tensor, mu: Tensor, t: float, guidance_scale: float) -> Tensor:
        """The velocity ``[B, L, C]`` in float32 at time ``t``, guided where the scale is above 1."""
        mu = mu.to(x.dtype)
        inputs = torch.cat((x, known, mu), dim=-1)
        if guidance_scale > 1:
            unconditional = torch.cat((x, known, torch.zeros_like(mu)), dim=-1)
            inputs = torch.cat((unconditional, inputs))
        velocity = self.estimator(inputs, timestep=torch.full((inputs.shape[0],), t, device=x.device)).float()
        if guidance_scale > 1:
            without, given = velocity.chunk(2)
            return cast(Tensor, without + guidance_scale * (given - without))
        return cast(Tensor, velocity)
