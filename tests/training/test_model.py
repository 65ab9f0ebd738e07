from __future__ import annotations

import torch

from heartopt.projection import EncoderProjection
from heartopt.training.model import BypassDecoder, Trained


def test_the_decoder_gives_two_latent_frames_a_code_frame() -> None:
    torch.manual_seed(0)
    decoder = BypassDecoder(64, 12)
    features = torch.randn(3, 5, 64)
    latents = decoder(features)
    assert latents.shape == (3, 10, 12)
    # Frame by frame: the third code frame alone gives the fifth and the sixth latent frame.
    torch.testing.assert_close(decoder(features[:, 2:3]), latents[:, 4:6])


def test_what_is_trained_is_the_projection_and_the_decoder_if_there_is_one() -> None:
    projection = EncoderProjection(256, 64, 16)
    assert {name.split(".")[0] for name in Trained(projection).state_dict()} == {"projection"}
    both = Trained(projection, BypassDecoder(64, 256))
    assert {name.split(".")[0] for name in both.state_dict()} == {"projection", "decoder"}
    assert sum(p.numel() for p in both.parameters()) == sum(
        p.numel()
        for part in (projection, both.decoder)
        for p in part.parameters()  # type: ignore[union-attr]
    )
