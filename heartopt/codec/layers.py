"""Causal convolutions and residual blocks of the ScalarModel."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

# Each residual block looks further back by dilating the first convolution of its units.
DILATIONS = (1, 3, 5, 7, 9)


class CausalConv1d(nn.Conv1d):
    """A convolution that sees only the past: ``[B, C, N]`` -> ``[B, C', ceil(N / stride)]``."""

    def forward(self, input: Tensor) -> Tensor:
        past = self.dilation[0] * (self.kernel_size[0] - 1)
        return super().forward(F.pad(input, (past, 0)))


class CausalConvTranspose1d(nn.ConvTranspose1d):
    """A transposed convolution cut to the past: ``[B, C, N]`` -> ``[B, C', N * stride]``."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(input, output_size)[..., : input.shape[-1] * self.stride[0]]


class ResidualUnit(nn.Module):
    """Dilated convolution, PReLU, pointwise convolution, PReLU, plus the input: ``[B, C, N]`` -> ``[B, C, N]``."""

    def __init__(self, channels: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = weight_norm(CausalConv1d(channels, channels, kernel_size, dilation=dilation))
        self.activation1 = nn.PReLU()
        self.conv2 = weight_norm(CausalConv1d(channels, channels, 1))
        self.activation2 = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation1(self.conv1(x))
        y = x + self.activation2(self.conv2(y))
        return y


class DownConv(nn.Module):
    """Strided convolution and PReLU: ``[B, C, N]`` -> ``[B, C', ceil(N / stride)]``."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.layer = weight_norm(CausalConv1d(in_channels, out_channels, kernel_size, stride=stride))
        self.activation = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.layer(x))
        return y


class UpConv(nn.Module):
    """Transposed convolution without activation: ``[B, C, N]`` -> ``[B, C', N * stride]``."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.layer = weight_norm(CausalConvTranspose1d(in_channels, out_channels, kernel_size, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


class EncoderBlock(nn.Module):
    """Residual units at the input width, then a strided convolution to the output width."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int, unit_kernel: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(ResidualUnit(in_channels, unit_kernel, dilation) for dilation in DILATIONS)
        self.down_conv = DownConv(in_channels, out_channels, kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.convs:
            x = unit(x)
        y: Tensor = self.down_conv(x)
        return y


class DecoderBlock(nn.Module):
    """A transposed convolution to the output width, then residual units at that width."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int, unit_kernel: int) -> None:
        super().__init__()
        self.up_conv = UpConv(in_channels, out_channels, kernel_size, stride)
        self.convs = nn.ModuleList(ResidualUnit(out_channels, unit_kernel, dilation) for dilation in DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up_conv(x)
        for unit in self.convs:
            x = unit(x)
        return x


class PreProcessor(nn.Module):
    """Plain convolution, PReLU, average pooling: ``[B, C, N]`` -> ``[B, C, floor(N / pooling)]``."""

    def __init__(self, channels: int, kernel_size: int, pooling: int) -> None:
        super().__init__()
        self.conv = CausalConv1d(channels, channels, kernel_size)
        self.activation = nn.PReLU()
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool1d(self.activation(self.conv(x)), self.pooling)


class PostProcessor(nn.Module):
    """Each sample repeated, plain convolution, PReLU: ``[B, C, N]`` -> ``[B, C, N * repeats]``."""

    def __init__(self, channels: int, kernel_size: int, repeats: int) -> None:
        super().__init__()
        self.conv = CausalConv1d(channels, channels, kernel_size)
        self.activation = nn.PReLU()
        self.repeats = repeats

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.conv(x.repeat_interleave(self.repeats, dim=-1)))
        return y
