"""HeartCodec in PyTorch: config, ScalarModel, residual VQ, flow-matching transformer, windowed decoding."""

from heartopt.codec.config import HeartCodecConfig
from heartopt.codec.model import HeartCodec

__all__ = ["HeartCodec", "HeartCodecConfig"]
