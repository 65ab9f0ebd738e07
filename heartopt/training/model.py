"""What a run trains: the projection, and for `bypass` a small decoder that is thrown away afterwards."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.projection import EncoderProjection

#: Width inside the decoder, as in the training report.
DECODER_WIDTH = 256


class BypassDecoder(nn.Module):
    """Quantized features `[B, F, D]` at 12.5 Hz -> ScalarModel latents `[B, 2F, latent_dim]` at 25 Hz.

    It stands in for the flow transformer while `bypass` trains. The training report's has the same two layers, but
    works at its rate of one latent frame a code; here each code frame gives its two latent frames.
    """

    def __init__(self, dim: int, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.net = nn.Sequential(
            nn.Linear(dim, DECODER_WIDTH), nn.GELU(), nn.Linear(DECODER_WIDTH, LATENTS_PER_CODE * latent_dim)
        )

    def forward(self, features: Tensor) -> Tensor:
        frames = self.net(features).unflatten(-1, (LATENTS_PER_CODE, self.latent_dim))
        return cast(Tensor, frames.flatten(1, 2))


class Trained(nn.Module):
    """All that the optimizer changes. `decoder`: for the objective `bypass` only."""

    def __init__(self, projection: EncoderProjection, decoder: BypassDecoder | None = None) -> None:
        super().__init__()
        self.projection = projection
        self.decoder = decoder
