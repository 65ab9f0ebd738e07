"""What the ScalarModel's layers weigh and compute, from the config alone.

FLOPs are the multiplications and additions of matrix products and convolutions, as `torch.utils.flop_counter` counts
them; what is done value by value is left out. What a gradient needs is what autograd keeps of a forward pass through
*frozen* weights: of a convolution its input (and a kernel that the weight norm made), of an activation its input.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from heartopt.codec.config import HeartCodecConfig
from heartopt.codec.layers import DILATIONS

FLOAT32 = 4  # bytes


def latent_rate(config: HeartCodecConfig) -> float:
    """Latent frames a second (25)."""
    return float(config.sample_rate / (config.num_samples * math.prod(config.downsample_factors)))


@dataclass(frozen=True)
class Conv:
    """A convolution of the ScalarModel, ``before`` and ``after`` it so many values a second in each channel."""

    into: int
    out: int
    kernel: int
    before: float
    after: float
    activated: bool = True  # a PReLU follows
    normed: bool = True  # in the weight norm's form

    @property
    def transposed(self) -> bool:
        return self.after > self.before

    @property
    def kernel_values(self) -> int:
        return self.into * self.out * self.kernel

    @property
    def values(self) -> int:
        norm = (self.into if self.transposed else self.out) if self.normed else 0
        return self.kernel_values + self.out + norm + self.activated

    @property
    def flops(self) -> float:
        """A second: each kernel value acts once for every position on the slower side."""
        return 2 * self.kernel_values * min(self.before, self.after)

    @property
    def kept(self) -> float:
        """Values a second that the gradient needs: its input, and the activation's."""
        return self.into * self.before + self.activated * self.out * self.after


def scalar_encoder(config: HeartCodecConfig) -> list[Conv]:
    """The ScalarModel's encoder, layer by layer."""
    width, kernel, rate = config.init_channel, config.default_kernel_size, float(config.sample_rate)
    convs = [
        Conv(config.num_bands, width, kernel, rate, rate, activated=False),
        Conv(width, width, kernel, rate, rate, normed=False),
    ]
    rate /= config.num_samples
    for stride, size in zip(config.downsample_factors, config.downsample_kernel_sizes, strict=True):
        convs += _units(width, config.res_kernel_size, rate)
        convs.append(Conv(width, 2 * width, size, rate, rate / stride))
        width, rate = 2 * width, rate / stride
    return [*convs, Conv(width, config.latent_hidden_dim, kernel, rate, rate, activated=False)]


def scalar_decoder(config: HeartCodecConfig) -> list[Conv]:
    """The ScalarModel's decoder, layer by layer."""
    width, rate = config.init_channel * 2 ** len(config.upsample_factors), latent_rate(config)
    convs = [Conv(config.latent_hidden_dim, width, config.delay_kernel_size, rate, rate, activated=False)]
    for stride, size in zip(config.upsample_factors, config.upsample_kernel_sizes, strict=True):
        convs.append(Conv(width, width // 2, size, rate, rate * stride, activated=False))
        width, rate = width // 2, rate * stride
        convs += _units(width, config.res_kernel_size, rate)
    rate, kernel = rate * config.num_samples, config.default_kernel_size
    return [
        *convs,
        Conv(width, width, kernel, rate, rate, normed=False),
        Conv(width, config.num_bands, kernel, rate, rate, activated=False),
    ]


def _units(width: int, kernel: int, rate: float) -> list[Conv]:
    return [Conv(width, width, size, rate, rate) for _ in DILATIONS for size in (kernel, 1)]


def flops_per_second(convs: Iterable[Conv]) -> float:
    """Forward FLOPs of one second of one channel."""
    return sum(conv.flops for conv in convs)


def kept_bytes_per_second(convs: Iterable[Conv]) -> float:
    """Bytes that the gradient needs of one second of one channel, in float32."""
    return FLOAT32 * sum(conv.kept for conv in convs)


def normed_bytes(convs: Iterable[Conv]) -> int:
    """Bytes of the kernels that the weight norm makes on each call, kept as long as its gradient is wanted."""
    return FLOAT32 * sum(conv.kernel_values for conv in convs if conv.normed)
