"""A teacher's tokens: one file a song, laid out like the songs, made with the same codec."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from heartopt.audio import FoundFile
from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError, TokenError
from heartopt.tokens import TOKEN_SUFFIX, info_path, load_tokens


def teacher_path(folder: Path, file: FoundFile) -> Path:
    """Where the tokens of a song lie: `FOLDER/<relative path without suffix>.tokens.npy`."""
    return folder / file.relative.with_name(file.relative.stem + TOKEN_SUFFIX)


def load_teacher(path: Path, *, codec: HeartCodec, frames: int) -> Tensor:
    """The tokens of a song of `frames` code frames: int64 `[K, frames]`.

    Raises:
        ConfigError: they were made with another codec, as all in the folder must be thought to be.
        TokenError: damaged, or not of this song.
    """
    tokens, info = load_tokens(
        path, num_quantizers=codec.config.num_quantizers, codebook_size=codec.config.codebook_size
    )
    if info is not None and info.fingerprint != codec.fingerprint():
        raise ConfigError(
            f"{info_path(path)}: made with another codec ({info.codec}, {info.fingerprint[:12]}) than this one "
            f"({codec.name}, {codec.fingerprint()[:12]}); make the teacher's tokens with this codec"
        )
    if tokens.shape[1] != frames:
        raise TokenError(f"{path}: has {tokens.shape[1]} frames, but the song {frames}; make the tokens again")
    return tokens
