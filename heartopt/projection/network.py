"""EncoderProjection: ScalarModel latents at 25 Hz to the residual VQ's input at 12.5 Hz."""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.codec.transformer import NORM_EPS, SwiGLU, rotary_angles, rotate
from heartopt.errors import CheckpointError

ProjectionType = Literal["linear", "conv1d", "query"]
LatentKind = Literal["tanh", "pre_tanh"]
Bridge = Literal["mean", "first"]
PROJECTION_TYPES: tuple[str, ...] = get_args(ProjectionType)

GROUPS = 8  # of the report's conv1d projection
QUERY_LAYERS = 4
QUERY_HEAD_DIM = 64
# A token of the query transformer attends to its neighbours this far away: four code frames either way.
QUERY_REACH = 4 * (LATENTS_PER_CODE + 1)


def linear_net(latent_dim: int, hidden_dim: int, output_dim: int) -> nn.Sequential:
    """The report's ``linear`` projection (``mlp`` in its second version)."""
    return nn.Sequential(
        nn.Linear(latent_dim, hidden_dim),
        nn.GELU(),
        nn.LayerNorm(hidden_dim),
        nn.Linear(hidden_dim, hidden_dim),
        nn.GELU(),
        nn.LayerNorm(hidden_dim),
        nn.Linear(hidden_dim, output_dim),
    )


def conv1d_net(latent_dim: int, hidden_dim: int, output_dim: int) -> nn.Sequential:
    """The report's ``conv1d`` projection. Its group norms see all frames given, so the length matters a little."""
    return nn.Sequential(
        nn.Conv1d(latent_dim, hidden_dim, 3, padding=1),
        nn.GELU(),
        nn.GroupNorm(GROUPS, hidden_dim),
        nn.Conv1d(hidden_dim, hidden_dim, 3, padding=1),
        nn.GELU(),
        nn.GroupNorm(GROUPS, hidden_dim),
        nn.Conv1d(hidden_dim, output_dim, 1),
    )


class QueryBlock(nn.Module):
    """Local attention and SwiGLU, pre-normalized: ``[B, S, dim]`` -> ``[B, S, dim]``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attn_norm = nn.RMSNorm(dim, eps=NORM_EPS)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.mlp_norm = nn.RMSNorm(dim, eps=NORM_EPS)
        self.mlp = SwiGLU(dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        heads = self.qkv(self.attn_norm(x)).unflatten(-1, (3, -1, QUERY_HEAD_DIM)).transpose(1, 3)
        q, k, v = heads.unbind(2)
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, attn_mask=mask)
        x = x + self.out(y.transpose(1, 2).flatten(-2))
        return cast(Tensor, x + self.mlp(self.mlp_norm(x)))


class QueryNet(nn.Module):
    """After every two latent frames one learned query token; only the query positions leave the transformer.

    The way of HeartCodec's own encoder (HeartMuLa, arXiv 2601.10547). Attention is local, so the result does not
    depend on how long a stretch of the song is given: ``[B, L, latent_dim]`` -> ``[B, L / 2, output_dim]``.
    """

    def __init__(self, latent_dim: int, hidden_dim: int, output_dim: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(latent_dim, hidden_dim)
        self.query = nn.Parameter(torch.randn(hidden_dim) / hidden_dim**0.5)
        self.blocks = nn.ModuleList(QueryBlock(hidden_dim) for _ in range(QUERY_LAYERS))
        self.norm = nn.RMSNorm(hidden_dim, eps=NORM_EPS)
        self.proj_out = nn.Linear(hidden_dim, output_dim)

    def forward(self, latents: Tensor) -> Tensor:
        pairs = self.proj_in(latents).unflatten(1, (-1, LATENTS_PER_CODE))
        queries = self.query.expand(*pairs.shape[:2], 1, -1)
        x = torch.cat((pairs, queries), dim=2).flatten(1, 2)
        position = torch.arange(x.shape[1], device=x.device)
        mask = (position[:, None] - position[None]).abs() <= QUERY_REACH
        cos, sin = rotary_angles(x.shape[1], QUERY_HEAD_DIM, x.device)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        return cast(Tensor, self.proj_out(self.norm(x[:, LATENTS_PER_CODE :: LATENTS_PER_CODE + 1])))


class EncoderProjection(nn.Module):
    """ScalarModel latents ``[B, L, latent_dim]`` at 25 Hz -> features ``[B, F, output_dim]`` at 12.5 Hz.

    Args:
        latent_dim: 128 takes the latents of the channels' mean, 256 those of left | right.
        output_dim: width of the residual VQ's input (D).
        hidden_dim: width inside.
        projection_type: ``linear`` and ``conv1d`` are the training report's, parameter names and all; ``query`` is
            a small transformer that ends at 12.5 Hz by itself.
        latents: ``tanh`` as the codec gives them, or ``pre_tanh`` as the report's checkpoints were trained.
        bridge: how ``linear`` and ``conv1d`` come from 25 to 12.5 Hz: the ``mean`` of two neighbouring frames,
            or the ``first`` of them.

    Raises:
        CheckpointError: an unknown type, or a ``hidden_dim`` that the type cannot divide.
    """

    def __init__(
        self,
        latent_dim: int = 128,
        output_dim: int = 512,
        hidden_dim: int = 256,
        *,
        projection_type: ProjectionType = "linear",
        latents: LatentKind = "tanh",
        bridge: Bridge = "mean",
    ) -> None:
        super().__init__()
        nets = {"linear": linear_net, "conv1d": conv1d_net, "query": QueryNet}
        divisor = {"conv1d": GROUPS, "query": QUERY_HEAD_DIM}.get(projection_type, 1)
        if projection_type not in nets:
            raise CheckpointError(f"projection type {projection_type!r}: choose one of {', '.join(PROJECTION_TYPES)}")
        if hidden_dim < 1 or hidden_dim % divisor:
            raise CheckpointError(
                f"hidden dim {hidden_dim}: a {projection_type} projection needs a multiple of {divisor}"
            )
        if bridge not in get_args(Bridge) or latents not in get_args(LatentKind):
            raise CheckpointError(f"bridge {bridge!r}, latents {latents!r}: not known to this version of heartopt")
        self.latent_dim, self.output_dim, self.hidden_dim = latent_dim, output_dim, hidden_dim
        self.projection_type, self.latents, self.bridge = projection_type, latents, bridge
        self.codec_fingerprint: str | None = None  # of the codec it was trained for, where that is known
        self.net = nets[projection_type](latent_dim, hidden_dim, output_dim)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("latent_dim", "output_dim", "hidden_dim", "projection_type", "latents", "bridge")
        return {name: getattr(self, name) for name in names}

    def forward(self, latents: Tensor) -> Tensor:
        """Latents ``[B, L, latent_dim]`` -> features at the report's rate: ``[B, L, D]``; query: ``[B, L/2, D]``."""
        if self.projection_type == "conv1d":
            return cast(Tensor, self.net(latents.transpose(1, 2)).transpose(1, 2))
        return cast(Tensor, self.net(latents))

    def project(self, latents: Tensor) -> Tensor:
        """Latents ``[B, L, latent_dim]`` with even L -> features ``[B, L / 2, D]`` at 12.5 Hz (the rate bridge)."""
        features = self(latents)
        if self.projection_type == "query":
            return cast(Tensor, features)
        pairs = features.unflatten(1, (-1, LATENTS_PER_CODE))
        return cast(Tensor, pairs.mean(2) if self.bridge == "mean" else pairs[:, :, 0])
