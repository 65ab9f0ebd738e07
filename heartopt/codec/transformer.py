"""The flow-matching estimator: a two-stage transformer with adaLN-single conditioning on time."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

ROPE_BASE = 10_000.0
TIME_WIDTH = 512
NORM_EPS = 1e-6


def rotary_angles(length: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``[length, head_dim / 2]`` of rotary embedding (RoFormer, arXiv 2104.09864), in float32."""
    exponent = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim
    position = torch.arange(length, device=device, dtype=torch.float32)
    angle = torch.outer(position, ROPE_BASE**-exponent)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the interleaved pairs (0, 1), (2, 3), … of ``x`` ``[B, heads, length, head_dim]`` in float32."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return rotated.flatten(-2).to(x.dtype)


class Attention(nn.Module):
    """Bias-free multi-head attention over all frames of the window, unmasked, with rotary embedding."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=False)
        self.o_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (
            proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
        out: Tensor = self.o_proj(y.transpose(1, 2).flatten(-2))
        return out


class SwiGLU(nn.Module):
    """``down(silu(gate(x)) · up(x))`` (arXiv 2002.05202), ⅔ · 4 · dim wide, rounded up to a multiple of 256."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        width = 256 * math.ceil(int(2 * 4 * dim / 3) / 256)
        self.gate = nn.Linear(dim, width, bias=False)
        self.up = nn.Linear(dim, width, bias=False)
        self.down = nn.Linear(width, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return y


class Block(nn.Module):
    """Attention and SwiGLU, each pre-normalized, shifted, scaled and gated by time (adaLN-single, arXiv 2310.00426)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attn_norm = nn.RMSNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, heads)
        self.mlp_norm = nn.RMSNorm(dim, eps=NORM_EPS)
        self.mlp = SwiGLU(dim)
        self.scale_shift_table = nn.Parameter(torch.randn(6, dim) / dim**0.5)

    def forward(self, x: Tensor, modulation: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """``x`` ``[B, L, dim]``, ``modulation`` ``[B, 6 · dim]`` from the time embedding -> ``[B, L, dim]``."""
        rows = self.scale_shift_table + modulation.unflatten(-1, (6, -1))
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = (row[:, None] for row in rows.unbind(1))
        x = x + gate * self.attn(self.attn_norm(x) * (1 + scale) + shift, cos, sin)
        y: Tensor = x + gate_mlp * self.mlp(self.mlp_norm(x) * (1 + scale_mlp) + shift_mlp)
        return y


def _without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Autocast switched off; not every device has it (`meta` has not)."""
    if not torch.amp.is_autocast_available(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


class TimestepEmbedding(nn.Module):
    """Two linear layers over the sinusoids of ``1000 · t``: ``[B]`` -> ``[B, dim]``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(TIME_WIDTH, dim)
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, t: Tensor) -> Tensor:
        half = TIME_WIDTH // 2
        frequency = ROPE_BASE ** (-torch.arange(half, device=t.device, dtype=torch.float32) / half)
        angle = 1000 * t.float()[:, None] * frequency
        waves = torch.cat((angle.cos(), angle.sin()), dim=-1)
        # In float32 whatever the weights or autocast say: every block is modulated by this, and it costs nothing.
        with _without_autocast(t.device.type):
            hidden = F.silu(F.linear(waves, self.linear_1.weight.float(), self.linear_1.bias.float()))
            embedding = F.linear(hidden, self.linear_2.weight.float(), self.linear_2.bias.float())
        return embedding.to(self.linear_1.weight.dtype)


class TimeEmbedder(nn.Module):
    """Names the time embedding as the release does (``emb.timestep_embedder``)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.timestep_embedder = TimestepEmbedding(dim)


class AdaLayerNormSingle(nn.Module):
    """Time ``[B]`` -> six modulation rows ``[B, 6 · dim]`` for every block, and the bare embedding ``[B, dim]``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.emb = TimeEmbedder(dim)
        self.linear = nn.Linear(dim, 6 * dim)

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.emb.timestep_embedder(t)
        modulation: Tensor = self.linear(F.silu(embedding))
        return modulation, embedding


class ProjectLayer(nn.Module):
    """Convolution over three frames, scaled by 3^−½, then a linear layer: ``[B, L, C]`` -> ``[B, L, C']``."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.ffn_1 = nn.Conv1d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.ffn_2 = nn.Linear(out_channels, out_channels)
        self.scale = kernel_size**-0.5

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.ffn_2(self.ffn_1(x.transpose(1, 2)).transpose(1, 2) * self.scale)
        return y


class Estimator(nn.Module):
    """Velocity of the latents: ``[x_t | context | condition]`` ``[B, L, in]``, time ``[B]`` -> ``[B, L, out]``.

    The second stage is twice as wide as the first and sees the raw input again.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        heads: int,
        head_dim: int,
        layers: int,
        layers_2: int,
    ) -> None:
        super().__init__()
        dim, dim_2 = heads * head_dim, 2 * heads * head_dim
        self.head_dims = (head_dim, 2 * head_dim)
        self.proj_in = ProjectLayer(in_channels, dim)
        self.transformer_blocks = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.scale_shift_table = nn.Parameter(torch.randn(2, dim) / dim**0.5)
        self.adaln_single = AdaLayerNormSingle(dim)
        self.connection_proj = ProjectLayer(in_channels + dim, dim_2)
        self.transformer_blocks_2 = nn.ModuleList(Block(dim_2, heads) for _ in range(layers_2))
        self.scale_shift_table_2 = nn.Parameter(torch.randn(2, dim_2) / dim_2**0.5)
        self.adaln_single_2 = AdaLayerNormSingle(dim_2)
        self.proj_out = ProjectLayer(dim_2, out_channels)
        self.gradient_checkpointing = False

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        x = x.to(self.scale_shift_table.dtype)
        h = self._stage(
            self.proj_in(x),
            timestep,
            self.transformer_blocks,
            self.adaln_single,
            self.scale_shift_table,
            self.head_dims[0],
        )
        h = self._stage(
            self.connection_proj(torch.cat((x, h), dim=-1)),
            timestep,
            self.transformer_blocks_2,
            self.adaln_single_2,
            self.scale_shift_table_2,
            self.head_dims[1],
        )
        velocity: Tensor = self.proj_out(h)
        return velocity

    def _stage(
        self, x: Tensor, t: Tensor, blocks: nn.ModuleList, adaln: AdaLayerNormSingle, table: Tensor, head_dim: int
    ) -> Tensor:
        cos, sin = rotary_angles(x.shape[1], head_dim, x.device)
        modulation, embedding = adaln(t)
        for block in blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, modulation, cos, sin, use_reentrant=False)
            else:
                x = block(x, modulation, cos, sin)
        shift, scale = (table + embedding[:, None]).unsqueeze(2).unbind(1)
        y: Tensor = F.layer_norm(x, x.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift
        return y
