"""What is made of songs, on disk: the codec is frozen, so a song is read and encoded once, not once an epoch.

An entry is one safetensors file, `FOLDER/latents/FINGERPRINT/DIGEST-KIND.safetensors`: the song's content hash, the
codec's fingerprint and what was made of it (latents of which channels, tanh or not, audio, whose tokens, which part)
name it, so runs and processes can share a folder. Entries appear atomically; latents and tokens carry a checksum that
is looked at whenever they are found. One that does not match is made again.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from heartopt.errors import OutputError
from heartopt.files import atomic_path
from heartopt.training.audio_entry import AudioEntryWriter, entry_bytes, write_audio_entry
from heartopt.training.cache_bound import Bound
from heartopt.training.entries import AUDIO, LATENTS, TOKENS, AudioEntry, LatentFile, TokenSpan, mark_used, open_entry

__all__ = ["AudioEntry", "LatentCache", "LatentFile", "TokenSpan", "default_cache", "temporary_cache"]

_HEADER_BYTES = 512  # more than the header of a small entry takes


def default_cache() -> Path:
    """`$HEARTOPT_CACHE`, else `heartopt` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("HEARTOPT_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "heartopt"


@contextmanager
def temporary_cache(fingerprint: str) -> Iterator[LatentCache]:
    """A cache in a folder of its own (where `$TMPDIR` says), which is gone when the block ends. Raises OutputError."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="heartopt-", ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"cannot make a temporary folder: {error.strerror or error}; set TMPDIR") from error
    with folder as name:
        yield LatentCache(Path(name), fingerprint)


class LatentCache:
    """Entries by song content and kind, under one codec's fingerprint. Can be used from several threads.

    `max_bytes` bounds the folder, over all codecs (see `cache_bound`); None does not. What this cache has found or
    stored stays.
    """

    def __init__(self, folder: Path, fingerprint: str, *, max_bytes: int | None = None) -> None:
        self.folder = folder / "latents" / fingerprint[:32]
        self._bound = Bound(self.folder.parent, max_bytes)

    def path(self, digest: str, kind: str) -> Path:
        """Where the entry of a song (`digest`, its content's SHA-256) and `kind` lies."""
        return self.folder / f"{digest}-{kind}.safetensors"

    def find(self, digest: str, kind: str) -> LatentFile | None:
        """The latents, or None where there are none or they are damaged (they will then be overwritten)."""
        shape = self._find(self.path(digest, kind), LATENTS)
        return None if shape is None else LatentFile(self.path(digest, kind), shape[0], shape[1])

    def store(self, digest: str, kind: str, latents: Tensor) -> LatentFile:
        """Write `[L, C]` as float16, which keeps tanh latents to 5e-4 (the decoder rounds them to ninths).

        Raises:
            OutputError: it cannot be written, or it does not fit into the bound.
        """
        path = self._store(self.path(digest, kind), LATENTS, latents.to("cpu", torch.float16))
        return LatentFile(path, latents.shape[0], latents.shape[1])

    def find_tokens(self, digest: str, kind: str) -> TokenSpan | None:
        """A teacher's tokens, or None, as `find`."""
        shape = self._find(self.path(digest, kind), TOKENS)
        return None if shape is None else TokenSpan(self.path(digest, kind), shape[1], shape[0])

    def store_tokens(self, digest: str, kind: str, tokens: Tensor) -> TokenSpan:
        """Write `[K, F]`, as `store`."""
        path = self._store(self.path(digest, kind), TOKENS, tokens.to("cpu", torch.int32))
        return TokenSpan(path, tokens.shape[1], tokens.shape[0])

    def find_audio(self, digest: str, kind: str, samples: int) -> AudioEntry | None:
        """The audio, or None where there is none of `samples` a channel; its values are not looked at."""
        path = self.path(digest, kind)
        self._bound.protect(path)
        opened = open_entry(path, AUDIO, "I16")
        if opened is None or len(opened[0]) != 2 or opened[0][0] not in (1, 2) or opened[0][1] != samples:
            return None
        mark_used(path)
        return AudioEntry(path, samples, opened[0][0])

    @contextmanager
    def store_audio(self, digest: str, kind: str, *, channels: int, samples: int) -> Iterator[AudioEntryWriter]:
        """A writer of the audio, which is in the cache once the block has ended without an error, as `store`."""
        path = self.path(digest, kind)
        self._bound.protect(path)
        self._bound.make_room(entry_bytes(channels, samples))
        with atomic_path(path) as aside, write_audio_entry(aside, channels, samples) as writer:
            yield writer

    def _find(self, path: Path, name: str) -> tuple[int, int] | None:
        self._bound.protect(path)
        try:
            with safe_open(path, framework="pt") as file:
                meta = file.metadata() or {}
                values: Tensor = file.get_tensor(name)
        except (OSError, SafetensorError):
            return None
        if values.dim() != 2 or meta.get("crc32") != _checksum(values):
            return None
        mark_used(path)
        return values.shape[0], values.shape[1]

    def _store(self, path: Path, name: str, values: Tensor) -> Path:
        values = values.contiguous()
        self._bound.protect(path)
        self._bound.make_room(values.numel() * values.element_size() + _HEADER_BYTES)
        with atomic_path(path) as aside:
            try:
                save_file({name: values}, aside, metadata={"crc32": _checksum(values)})
            except SafetensorError as error:  # how it says that the disk is full
                raise OutputError(f"cannot write {path}: {error}; the disk may be full") from error
        return path


def _checksum(values: Tensor) -> str:
    return f"{zlib.crc32(values.contiguous().numpy().tobytes()):08x}"
