"""How many values HeartCodec's parts store, and what they compute for a second of audio, from the config alone."""

from __future__ import annotations

from dataclasses import dataclass

from heartopt.codec.config import HeartCodecConfig
from heartopt.codec.cost_flow import estimator_cost, quantizer_cost
from heartopt.codec.cost_scalar import flops_per_second, latent_rate, scalar_decoder, scalar_encoder
from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.errors import ConfigError


def code_rate(config: HeartCodecConfig) -> float:
    """Code frames a second (12.5)."""
    return latent_rate(config) / LATENTS_PER_CODE


@dataclass(frozen=True)
class Values:
    """Stored values (parameters and buffers) of each part of a codec."""

    estimator: int
    quantizer: int
    condition: int
    scalar_encoder: int
    scalar_decoder: int

    @property
    def total(self) -> int:
        return self.estimator + self.quantizer + self.condition + self.scalar_encoder + self.scalar_decoder


def stored_values(config: HeartCodecConfig) -> Values:
    """How many values a codec of ``config`` stores."""
    quantizer = quantizer_cost(config)
    return Values(
        estimator=estimator_cost(config).values,
        quantizer=quantizer.values,
        condition=quantizer.condition_values,
        scalar_encoder=sum(conv.values for conv in scalar_encoder(config)),
        scalar_decoder=sum(conv.values for conv in scalar_decoder(config)),
    )


@dataclass(frozen=True)
class Forward:
    """Forward FLOPs a second of audio: of the ScalarModel for one channel, of all else for a stereo song."""

    scalar_encoder: float
    scalar_decoder: float
    quantizer: float
    condition: float
    estimator: float


def forward_flops(config: HeartCodecConfig, frames: int) -> Forward:
    """What each part computes for a second of audio, in windows of ``frames`` latent frames. Raises ConfigError."""
    if frames < 1:
        raise ConfigError(f"a window of {frames} latent frames: give at least 1")
    quantizer = quantizer_cost(config)
    return Forward(
        scalar_encoder=flops_per_second(scalar_encoder(config)),
        scalar_decoder=flops_per_second(scalar_decoder(config)),
        quantizer=code_rate(config) * (quantizer.project_in + quantizer.search + quantizer.project_out),
        condition=code_rate(config) * quantizer.condition,
        estimator=estimator_cost(config).flops(frames) / frames * latent_rate(config),
    )
