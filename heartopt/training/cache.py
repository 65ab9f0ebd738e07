"""Latents on disk: the codec is frozen, so a song is read, resampled and encoded once, not once an epoch.

An entry is one safetensors file, `FOLDER/FINGERPRINT/DIGEST-KIND.safetensors`: the song's content hash, the
codec's fingerprint and what was encoded (channels, tanh or not, which part) name it, so runs and processes
can share a folder. Entries appear atomically and carry a checksum; one that does not match is made again.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from heartopt.errors import OutputError
from heartopt.files import atomic_path

NAME = "latents"


def default_cache() -> Path:
    """`$HEARTOPT_CACHE`, else `heartopt` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("HEARTOPT_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "heartopt"


@dataclass(frozen=True)
class LatentFile:
    """One cached entry: `frames` latent frames of `channels` values, read from disk a crop at a time."""

    path: Path
    frames: int
    channels: int

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Latent frames `[start, stop)` as float32 `[stop - start, C]`; only they are read, memory-mapped."""
        try:
            with safe_open(self.path, framework="pt") as file:
                part: Tensor = file.get_slice(NAME)[start : self.frames if stop is None else stop]
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"{self.path}: the cached latents cannot be read any more ({error}); start again with --resume auto"
            ) from error
        return part.float()


class LatentCache:
    """Latents by song content and kind, under one codec's fingerprint."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder / "latents" / fingerprint[:32]

    def path(self, digest: str, kind: str) -> Path:
        """Where the entry of a song (`digest`, its content's SHA-256) and `kind` lies."""
        return self.folder / f"{digest}-{kind}.safetensors"

    def find(self, digest: str, kind: str) -> LatentFile | None:
        """The entry, or None where there is none or it is damaged (it will then be overwritten)."""
        path = self.path(digest, kind)
        try:
            with safe_open(path, framework="pt") as file:
                meta = file.metadata() or {}
                latents: Tensor = file.get_tensor(NAME)
        except (OSError, SafetensorError):
            return None
        if latents.dim() != 2 or meta.get("crc32") != _checksum(latents):
            return None
        return LatentFile(path, latents.shape[0], latents.shape[1])

    def store(self, digest: str, kind: str, latents: Tensor) -> LatentFile:
        """Write `[L, C]` as float16, which keeps tanh latents to 5e-4 (the decoder rounds them to ninths)."""
        latents = latents.to("cpu", torch.float16).contiguous()
        path = self.path(digest, kind)
        with atomic_path(path) as aside:
            save_file({NAME: latents}, aside, metadata={"crc32": _checksum(latents)})
        return LatentFile(path, latents.shape[0], latents.shape[1])


def _checksum(latents: Tensor) -> str:
    return f"{zlib.crc32(latents.contiguous().numpy().tobytes()):08x}"
