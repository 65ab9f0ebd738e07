"""Whether the codec loads, and whether it runs on the chosen device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from heartopt.codec import HeartCodec
from heartopt.codec.embedded import EMBEDDED
from heartopt.codec.windows import CODE_RATE, UNIT_CODES
from heartopt.doctor.check import Check, printable, reason
from heartopt.errors import ConfigError
from heartopt.projection import EncoderProjection, default_projection, encode_with_projection

TRIP_SECONDS = 0.48
_HIDDEN_DIM = 64  # of the untrained projection that stands in where heartopt ships none


def codec_check(load: Callable[[], HeartCodec]) -> tuple[Check, HeartCodec | None]:
    """Load the codec; None where that fails. Raises ConfigError for settings that make no sense for it."""
    began = time.perf_counter()
    try:
        codec = load()
        seconds = time.perf_counter() - began
        fingerprint = codec.fingerprint()
    except ConfigError:
        raise
    except Exception as error:  # also what CUDA and memory raise: all of it means that it does not load
        remedy = "check --codec, or try --codec mini, which comes with heartopt"
        return Check("codec", "failed", reason(error), remedy), None
    dtype = str(codec.config.dtype).removeprefix("torch.")
    detail = (
        f"{printable(codec.name)}: {values_of(codec) / 1e6:,.1f} million values, {dtype}, "
        f"fingerprint {fingerprint[:16]}, loaded in {seconds:.1f} s"
    )
    return Check("codec", "ok", detail), codec


def values_of(codec: HeartCodec) -> int:
    """How many values the codec's tensors hold."""
    return sum(tensor.numel() for tensor in codec.state_dict().values())


@torch.inference_mode()
def round_trip(codec: HeartCodec, *, seed: int = 0) -> Check:
    """Half a second of noise to tokens and back in one solver step: does every part run, and stay finite?"""
    draws = torch.Generator().manual_seed(seed)
    audio = 0.1 * torch.randn(1, 2, round(TRIP_SECONDS * codec.config.sample_rate), generator=draws)
    began = time.perf_counter()
    tokens = encode_with_projection(audio, codec, _projection(codec, seed))[0]
    decoded = codec.detokenize(
        tokens, duration=UNIT_CODES / CODE_RATE, num_steps=1, guidance_scale=1.0, generator=draws
    ).cpu()
    seconds = time.perf_counter() - began
    detail = (
        f"{TRIP_SECONDS:g} s of noise, {tokens.shape[0]} × {tokens.shape[1]} codes and back on {codec.scalar_device} "
        f"in {seconds:.1f} s"
    )
    if not bool(torch.isfinite(decoded).all()):
        remedy = "use --dtype float32; if that does not help, the codec's files are damaged: fetch them again"
        return Check("round trip", "failed", f"{detail}, but the audio is not finite", remedy)
    return Check("round trip", "ok", f"{detail}, all finite")


def _projection(codec: HeartCodec, seed: int) -> EncoderProjection:
    """heartopt's own projection for the codec, else an untrained one: its codes mean nothing, but they run."""
    if codec.name == EMBEDDED:
        return default_projection(codec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projection = EncoderProjection(2 * codec.config.latent_hidden_dim, codec.config.dim, _HIDDEN_DIM)
    return projection.to(codec.scalar_device).eval()
