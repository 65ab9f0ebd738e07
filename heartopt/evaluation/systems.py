"""Systems: what turns a song into tokens, or straight into audio, and is judged by the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from heartopt.audio import AudioTensor
from heartopt.codec import HeartCodec
from heartopt.codec.windows import WindowPlan, crossfade
from heartopt.errors import ConfigError
from heartopt.evaluation import controls
from heartopt.evaluation.oracle import has_oracle, oracle_codes
from heartopt.optimize import OptimizeSettings, optimize_source
from heartopt.projection import EncoderProjection, tokenize_source

BASELINE = "projection"


@dataclass(frozen=True)
class Decoding:
    """How tokens become audio: seconds of a window (a multiple of 7.44), Euler steps, guidance."""

    duration: float
    num_steps: int = 10
    guidance_scale: float = 1.25


@dataclass(frozen=True)
class Setup:
    """What every system works with. `projection` may be None where no system needs it."""

    codec: HeartCodec
    projection: EncoderProjection | None
    decoding: Decoding
    optimize: OptimizeSettings
    seed: int


@dataclass(frozen=True)
class Subject:
    """The song at hand: its number in the suite, its stereo audio `[2, N]`, and a reader of another song."""

    index: int
    target: Tensor
    other: Callable[[], Tensor]


class Output(NamedTuple):
    """A system's output: tokens `[K, F]`, or audio `[2, N]` where there are none; the other is None."""

    tokens: Tensor | None
    audio: Tensor | None = None


System = Callable[[Setup, Subject], Output]


def _projection(setup: Setup, subject: Subject) -> Output:
    return Output(_start_tokens(setup, subject))


def _optimized(setup: Setup, subject: Subject) -> Output:
    start = _start_tokens(setup, subject)
    source = AudioTensor(subject.target)
    return Output(optimize_source(source, setup.codec, start, settings=setup.optimize).tokens)


def _start_tokens(setup: Setup, subject: Subject) -> Tensor:
    if setup.projection is None:
        raise ConfigError("the systems projection and optimized need a projection")
    return tokenize_source(AudioTensor(subject.target), setup.codec, setup.projection)


def _oracle(setup: Setup, subject: Subject) -> Output:
    return Output(oracle_codes(subject.target, setup.codec))


def _scalar_roundtrip(setup: Setup, subject: Subject) -> Output:
    """ScalarModel there and back, in the decoder's own windows: what perfect latents would sound like."""
    codec, samples = setup.codec, subject.target.shape[-1]
    plan = WindowPlan.of_duration(setup.decoding.duration)
    with torch.no_grad():
        latents = codec.encode_latents(subject.target[None])
        frames = latents.shape[1] // 2
        blocks = (
            codec.decode_latents(latents[:, 2 * window.start : 2 * (window.start + window.real)])
            for window in plan.windows(frames)
        )
        overlap, length = plan.overlap * codec.samples_per_code, frames * codec.samples_per_code
        audio = torch.cat(list(crossfade(blocks, overlap, length)), dim=-1)
    return Output(None, audio[0, :, :samples].to(subject.target))


def _silence(setup: Setup, subject: Subject) -> Output:
    return Output(None, controls.silence(subject.target))


def _noise(setup: Setup, subject: Subject) -> Output:
    return Output(None, controls.matched_noise(subject.target, _seed(setup, subject)))


def _another_song(setup: Setup, subject: Subject) -> Output:
    return Output(None, controls.another_song(subject.target, subject.other()))


def _random_codes(setup: Setup, subject: Subject) -> Output:
    config = setup.codec.config
    codes = controls.random_codes(
        subject.target.shape[-1],
        num_quantizers=config.num_quantizers,
        codebook_size=config.codebook_size,
        seed=_seed(setup, subject),
    )
    return Output(codes)


def _seed(setup: Setup, subject: Subject) -> int:
    """Another one for each song."""
    return setup.seed * 1_000_003 + subject.index


CONTROLS: Mapping[str, System] = {
    "random_codes": _random_codes,
    "another_song": _another_song,
    "noise": _noise,
    "silence": _silence,
}
SYSTEMS: Mapping[str, System] = {
    "projection": _projection,
    "optimized": _optimized,
    "oracle": _oracle,
    "scalar_roundtrip": _scalar_roundtrip,
    **CONTROLS,
}
NEED_PROJECTION = frozenset({"projection", "optimized"})


def default_systems(codec: HeartCodec, songs: int) -> tuple[str, ...]:
    """All systems but the impossible: a codec's missing oracle, another song where there is only one."""
    impossible = set() if has_oracle(codec) else {"oracle"}
    if songs < 2:
        impossible.add("another_song")
    return tuple(name for name in SYSTEMS if name not in impossible)


def check_systems(names: tuple[str, ...], codec: HeartCodec, songs: int) -> None:
    """Refuse unknown, repeated and impossible systems. Raises ConfigError."""
    if unknown := [name for name in names if name not in SYSTEMS]:
        raise ConfigError(f"unknown system {', '.join(unknown)}: choose from {', '.join(SYSTEMS)}")
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"systems must be named once each, not {', '.join(names) or '(none)'}")
    if impossible := [name for name in names if name not in default_systems(codec, songs)]:
        reason = "the codec has no encoder of its own" if "oracle" in impossible else "there is only one song"
        raise ConfigError(f"system {impossible[0]} is not possible here: {reason}")
