"""EncoderProjection: latents to the residual VQ's input, its files, and tokens from it."""

from heartopt.projection.files import check_fits, default_projection, load_projection, save_projection
from heartopt.projection.network import PROJECTION_TYPES, EncoderProjection
from heartopt.projection.tokenizing import encode_with_projection, tokenize_source

__all__ = [
    "PROJECTION_TYPES",
    "EncoderProjection",
    "check_fits",
    "default_projection",
    "encode_with_projection",
    "load_projection",
    "save_projection",
    "tokenize_source",
]
