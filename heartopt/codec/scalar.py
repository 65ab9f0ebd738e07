"""ScalarModel: a mono waveform to 25 Hz latents in (−1, 1) and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from heartopt.codec.config import HeartCodecConfig
from heartopt.codec.layers import (
    DILATIONS,
    CausalConv1d,
    DecoderBlock,
    EncoderBlock,
    PostProcessor,
    PreProcessor,
)

# The decoder was trained on latents rounded to multiples of 1/9.
ROUNDING_LEVELS = 9


def round_latents(latents: Tensor) -> Tensor:
    """Round to multiples of 1/9, gradients passing as if nothing had been rounded (straight-through)."""
    rounded = torch.round(latents * ROUNDING_LEVELS) / ROUNDING_LEVELS
    return latents + (rounded - latents).detach()


class ScalarModel(nn.Module):
    """HeartCodec's waveform autoencoder (HeartMuLa, arXiv 2601.10547). Mono: stereo is two items of a batch."""

    def __init__(self, config: HeartCodecConfig) -> None:
        super().__init__()
        width, kernel = config.init_channel, config.default_kernel_size
        widths = [width * 2**i for i in range(len(config.downsample_factors) + 1)]
        self.encoder = nn.ModuleList(
            [
                weight_norm(CausalConv1d(config.num_bands, width, kernel)),
                PreProcessor(width, kernel, config.num_samples),
                *(
                    EncoderBlock(
                        widths[i], widths[i + 1], kernel_size=size, stride=stride, unit_kernel=config.res_kernel_size
                    )
                    for i, (stride, size) in enumerate(
                        zip(config.downsample_factors, config.downsample_kernel_sizes, strict=True)
                    )
                ),
                weight_norm(CausalConv1d(widths[-1], config.latent_hidden_dim, kernel)),
            ]
        )
        # The only layer that looks ahead: it is centred, two latent frames either way.
        first = nn.Conv1d(
            config.latent_hidden_dim, widths[-1], config.delay_kernel_size, padding=config.delay_kernel_size // 2
        )
        self.decoder = nn.ModuleList(
            [
                weight_norm(first),
                *(
                    DecoderBlock(
                        widths[-1 - i],
                        widths[-2 - i],
                        kernel_size=size,
                        stride=stride,
                        unit_kernel=config.res_kernel_size,
                    )
                    for i, (stride, size) in enumerate(
                        zip(config.upsample_factors, config.upsample_kernel_sizes, strict=True)
                    )
                ),
                PostProcessor(width, kernel, config.num_samples),
                weight_norm(CausalConv1d(width, config.num_bands, kernel)),
            ]
        )
        self.hop = config.num_samples * math.prod(config.downsample_factors)
        #: Latent frames of past audio that a latent frame depends on, and of past and coming latents that audio does.
        self.encoder_context = _encoder_context(config, self.hop)
        self.decoder_context = _decoder_context(config, self.hop)
        self.decoder_lookahead = config.delay_kernel_size // 2

    def encode(self, audio: Tensor, *, pre_tanh: bool = False) -> Tensor:
        """Audio ``[B, 1, N]`` at 48 kHz -> latents ``[B, 128, ceil(N / hop)]`` in (−1, 1).

        ``pre_tanh`` leaves out the last tanh: the report's projections were trained on those values.
        """
        x = audio
        for layer in self.encoder:
            x = layer(x)
        return x if pre_tanh else torch.tanh(x)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents ``[B, 128, L]``, rounded here to multiples of 1/9 -> audio ``[B, 1, L * hop]``."""
        x = round_latents(latents)
        for layer in self.decoder:
            x = layer(x)
        return x


def _encoder_context(config: HeartCodecConfig, hop: int) -> int:
    """How many latent frames of past audio reach one latent frame (the encoder's receptive field, rounded up)."""
    samples, rate = 2 * (config.default_kernel_size - 1), 1
    rate *= config.num_samples
    for stride, size in zip(config.downsample_factors, config.downsample_kernel_sizes, strict=True):
        samples += rate * ((config.res_kernel_size - 1) * sum(DILATIONS) + size - 1)
        rate *= stride
    samples += rate * (config.default_kernel_size - 1)
    return math.ceil(samples / hop) + 1


def _decoder_context(config: HeartCodecConfig, hop: int) -> int:
    """How many past latent frames reach one sample of audio (the decoder's receptive field, rounded up)."""
    rate = hop
    samples = rate * (config.delay_kernel_size // 2)
    for stride, size in zip(config.upsample_factors, config.upsample_kernel_sizes, strict=True):
        samples += rate * (-(-size // stride) - 1)
        rate //= stride
        samples += rate * (config.res_kernel_size - 1) * sum(DILATIONS)
    samples += 2 * (config.default_kernel_size - 1) + config.num_samples
    return math.ceil(samples / hop) + 1
