"""What is listened to: excerpts, and what each system made of them; checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from heartopt.audio import SAMPLE_RATE
from heartopt.errors import AudioError, ConfigError

ORIGINAL = "Original"


@dataclass(frozen=True)
class Take:
    """What one system made of an excerpt.

    Attributes:
        system: its name; unique in the excerpt.
        audio: `[C, N]` at 48 kHz, one or two channels; 1.0 is full scale, more is kept.
        metrics: quantities by name: numbers, words such as "not installed", None for nothing.
        tier: the word for its quality, None where there is none.
        control: whether it is a control, no system.
    """

    system: str
    audio: Tensor
    metrics: Mapping[str, float | str | None]
    tier: str | None = None
    control: bool = False


@dataclass(frozen=True)
class Excerpt:
    """A piece of music and its takes: `name` is the file's, `title` the song's; `original` is `[C, N]` at 48 kHz."""

    name: str
    title: str
    original: Tensor
    takes: Sequence[Take]


def checked(excerpts: Sequence[Excerpt]) -> tuple[Excerpt, ...]:
    """The excerpts with clean names, and every take as long as its original: cut, or with silence at its end.

    Titles that several excerpts have get the excerpt's name behind them.

    Raises:
        ConfigError: no excerpts, an excerpt without takes, a system named twice or like the original.
        AudioError: audio that is no `[C, N]` of one or two channels, is empty, or is not finite.
    """
    if not excerpts:
        raise ConfigError("a listening page needs at least one excerpt: give the files that were judged")
    found = tuple(_checked_excerpt(excerpt) for excerpt in excerpts)
    titles = [excerpt.title for excerpt in found]
    return tuple(
        replace(excerpt, title=f"{excerpt.title} ({excerpt.name})") if titles.count(excerpt.title) > 1 else excerpt
        for excerpt in found
    )


def _checked_excerpt(excerpt: Excerpt) -> Excerpt:
    name, title = drawable(excerpt.name), drawable(excerpt.title or excerpt.name)
    if not excerpt.takes:
        raise ConfigError(f"listening page: {name} has no takes: give at least one system's audio")
    systems = [drawable(take.system) for take in excerpt.takes]
    for system in systems:
        if system == ORIGINAL or systems.count(system) > 1:
            raise ConfigError(f"listening page: {name} has two takes named {system!r}: give each its own name")
    original = _checked_audio(excerpt.original, f"{name}: original")
    samples = original.shape[-1]
    takes = [
        replace(take, system=system, audio=_fitted(_checked_audio(take.audio, f"{name}: {system}"), samples))
        for take, system in zip(excerpt.takes, systems, strict=True)
    ]
    return Excerpt(name, title, original, tuple(takes))


def _checked_audio(audio: Tensor, where: str) -> Tensor:
    """Float32 on the CPU; two equal channels become one."""
    if audio.dim() != 2 or audio.shape[0] not in (1, 2) or audio.shape[1] == 0:
        raise AudioError(
            f"listening page: {where} has shape {list(audio.shape)}: "
            f"give audio [C, N] of one or two channels at {SAMPLE_RATE} Hz"
        )
    audio = audio.detach().to("cpu", torch.float32)
    if not bool(audio.isfinite().all()):
        raise AudioError(f"listening page: {where} has samples that are NaN or infinite: leave that take out")
    return audio[:1] if torch.equal(audio[0], audio[-1]) else audio


def _fitted(audio: Tensor, samples: int) -> Tensor:
    return functional.pad(audio[:, :samples], (0, max(0, samples - audio.shape[-1])))


def drawable(text: str) -> str:
    """`text` without what is no character: bytes of a file name that UTF-8 cannot write."""
    return str(text).encode("utf-8", "replace").decode("utf-8")
