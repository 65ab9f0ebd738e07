"""What lies in the cache for one song, read from disk a stretch at a time: latents, audio, a teacher's tokens."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from heartopt.errors import OutputError

LATENTS = "latents"
AUDIO = "audio"
TOKENS = "tokens"
#: What an int16 sample is divided by: 16-bit files at 48 kHz come back as they were.
FULL_SCALE = 32768
#: Seconds between two marks that an entry is being read: the cache's bound takes the longest unread ones first.
_MARK_EVERY = 3600.0


@dataclass(frozen=True)
class LatentFile:
    """One cached entry: `frames` latent frames of `channels` values."""

    path: Path
    frames: int
    channels: int

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Latent frames `[start, stop)` as float32 `[stop - start, C]`; only they are read, memory-mapped."""
        return _read(self.path, LATENTS, slice(start, self.frames if stop is None else stop)).float()


@dataclass(frozen=True)
class AudioEntry:
    """The 48 kHz audio of exactly the encoded part: `samples` = latent frames · hop, `channels` 1 or 2, as int16."""

    path: Path
    samples: int
    channels: int

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Samples `[start, stop)` as float32 `[2, stop - start]`; mono fills both channels."""
        stretch = slice(start, self.samples if stop is None else stop)
        audio = _read(self.path, AUDIO, (slice(None), stretch)).float() / FULL_SCALE
        return audio if self.channels == 2 else audio.repeat(2, 1)


@dataclass(frozen=True)
class TokenSpan:
    """A teacher's tokens of exactly the encoded part: `frames` code frames of `codebooks` levels."""

    path: Path
    frames: int
    codebooks: int

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Code frames `[start, stop)` as int64 `[K, stop - start]`."""
        stretch = slice(start, self.frames if stop is None else stop)
        return _read(self.path, TOKENS, (slice(None), stretch)).long()


def open_entry(path: Path, name: str, dtype: str) -> tuple[tuple[int, ...], dict[str, str]] | None:
    """The shape and metadata of an entry, None where there is no whole one of that name and type.

    safetensors refuses a file that is shorter or longer than its header says, without reading the values.
    """
    try:
        with safe_open(path, framework="pt") as file:
            part = file.get_slice(name)
            return (tuple(part.get_shape()), file.metadata() or {}) if part.get_dtype() == dtype else None
    except (OSError, SafetensorError):
        return None


def mark_used(path: Path) -> None:
    """Make an entry the youngest: its time of change says when it was last used."""
    with suppress(OSError):  # somebody else's cache
        os.utime(path)


def _read(path: Path, name: str, index: Any) -> Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            part: Tensor = file.get_slice(name)[index]
        if time.time() - path.stat().st_mtime > _MARK_EVERY:
            mark_used(path)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{path}: the cached {name} cannot be read any more ({_first_line(error)}); start again with --resume auto"
        ) from error
    return part


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
