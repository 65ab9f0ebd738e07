"""Token files: ``NAME.tokens.npy`` (int64 ``[K, F]``, no pickle) and ``NAME.tokens.json`` beside it.

``K`` codebooks, ``F`` code frames at 12.5 Hz. The JSON says which codec the codes belong to and how they were
made.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from heartopt.errors import TokenError
from heartopt.files import atomic_path, write_json
from heartopt.npy import read_npy

FRAME_RATE = 12.5  # code frames a second
FRAME_SAMPLES = 3840  # samples at 48 kHz that one code frame stands for
TOKEN_SUFFIX = ".tokens.npy"


@dataclass(frozen=True)
class TokenInfo:
    """What a token file's JSON says.

    Attributes:
        codec: the codec's name, as it was asked for.
        fingerprint: SHA-256 of the codec's weights; codes mean nothing to another codec.
        projection: the projection that made the codes, or None (tokens from elsewhere).
        settings: how they were made (steps, seed, ...), JSON types only.
        frames: F.
        seconds: the song's length; decoding trims to it.
    """

    codec: str
    fingerprint: str
    projection: str | None
    settings: dict[str, Any]
    frames: int
    seconds: float


class TokenFile(NamedTuple):
    """A loaded token file: ``tokens`` int64 ``[K, F]``; ``info`` is None where there is no JSON beside it."""

    tokens: Tensor
    info: TokenInfo | None


def frames_for(num_samples: int) -> int:
    """Code frames for ``num_samples`` at 48 kHz: ``ceil(12.5 * seconds)``, exactly."""
    if num_samples < 0:
        raise TokenError(f"a number of samples cannot be negative: {num_samples}")
    return -(-num_samples // FRAME_SAMPLES)


def info_path(path: str | os.PathLike[str]) -> Path:
    """The JSON beside a token file: ``NAME.tokens.npy`` -> ``NAME.tokens.json``."""
    return Path(path).with_suffix(".json")


def save_tokens(path: str | os.PathLike[str], tokens: Tensor, info: TokenInfo) -> None:
    """Write ``tokens`` (int64 ``[K, F]``) to ``path`` (``….tokens.npy``) and ``info`` to the JSON beside it.

    Each file appears atomically, the JSON first: wherever there are tokens, there is their JSON.

    Raises:
        TokenError: not int64 ``[K, F]`` with F > 0, negative codes, an ``info`` of another length or another
            name.
        OutputError: the files cannot be written.
    """
    final = Path(path)
    if not final.name.endswith(TOKEN_SUFFIX) or final.name == TOKEN_SUFFIX:
        raise TokenError(f"{final}: a token file is named NAME{TOKEN_SUFFIX}")
    if tokens.dtype != torch.int64:
        raise TokenError(f"{final}: tokens must be int64, not {str(tokens.dtype).removeprefix('torch.')}")
    if tokens.dim() != 2 or tokens.numel() == 0:
        raise TokenError(f"{final}: tokens must be [K, F] with at least one frame, not {list(tokens.shape)}")
    if int(tokens.min()) < 0:
        raise TokenError(f"{final}: tokens must not be negative, found {int(tokens.min())}")
    if problem := _disagreement(info, tokens.shape[1]):
        raise TokenError(f"{final}: {problem}")
    array = np.ascontiguousarray(tokens.detach().cpu().numpy(), dtype="<i8")
    write_json(info_path(final), asdict(info))
    with atomic_path(final) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def load_tokens(path: str | os.PathLike[str], *, num_quantizers: int, codebook_size: int) -> TokenFile:
    """Read a token file and check it against the codec's sizes.

    Any ``.npy`` that holds int64 ``[K, F]`` will do; the JSON beside it may be missing. Nothing is unpickled.

    Args:
        num_quantizers: the codec's K.
        codebook_size: the codec's V; every code must be in ``[0, V)``.

    Raises:
        TokenError: missing, damaged, truncated, empty or pickled; another shape, dtype or range; a JSON that
            is damaged or speaks of another number of frames.
    """
    source = Path(path)
    array = _read_array(source)
    if array.dtype != np.int64:
        raise TokenError(f'{source}: tokens must be int64, not {array.dtype}; convert with .astype("int64")')
    if array.ndim != 2 or array.shape[0] != num_quantizers:
        hint = "; transpose it" if array.ndim == 2 and array.shape[1] == num_quantizers else ""
        raise TokenError(
            f"{source}: tokens must be [{num_quantizers}, frames], not {list(array.shape)}{hint}"
        )
    if array.size == 0:
        raise TokenError(f"{source}: holds no frames")
    outside = (array < 0) | (array >= codebook_size)
    if outside.any():
        level, frame = np.argwhere(outside)[0]
        raise TokenError(
            f"{source}: code {array[level, frame]} (codebook {level}, frame {frame}) is outside "
            f"0..{codebook_size - 1}; were these tokens made for another codec?"
        )
    info = _read_info(source)
    if info is not None and (problem := _disagreement(info, array.shape[1])):
        raise TokenError(f"{info_path(source)}: {problem}; delete it or make the tokens again")
    return TokenFile(torch.from_numpy(array), info)


def _read_array(source: Path) -> np.ndarray[Any, Any]:
    if source.is_dir():
        raise TokenError(f"{source}: is a folder, not a token file")
    try:
        return read_npy(source)
    except FileNotFoundError:
        raise TokenError(f"{source}: no such token file") from None
    except OSError as error:
        raise TokenError(f"{source}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise TokenError(f"{source}: not a whole .npy array of numbers: {error}") from error


def _read_info(source: Path) -> TokenInfo | None:
    """The JSON beside a token file, None if there is none."""
    path = info_path(source)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise TokenError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(record, dict):
        raise TokenError(f"{path}: must hold a JSON object")
    wanted: dict[str, tuple[type, ...]] = {
        "codec": (str,),
        "fingerprint": (str,),
        "projection": (str, type(None)),
        "settings": (dict,),
        "frames": (int,),
        "seconds": (int, float),
    }
    for key, types in wanted.items():
        if key not in record:
            raise TokenError(f"{path}: has no {key!r}")
        if not isinstance(record[key], types) or isinstance(record[key], bool):
            raise TokenError(f"{path}: {key!r} is {record[key]!r}, not {types[0].__name__}")
    return TokenInfo(**{key: record[key] for key in wanted})


def _disagreement(info: TokenInfo, frames: int) -> str | None:
    """What contradicts ``frames`` in ``info``, in words; None if nothing does."""
    if info.frames != frames:
        return f"frames is {info.frames}, but the tokens have {frames}"
    if not (math.isfinite(info.seconds) and info.seconds > 0):
        return f"seconds must be a positive number, not {info.seconds}"
    if frames_for(round(info.seconds * FRAME_RATE * FRAME_SAMPLES)) != frames:
        return f"seconds is {info.seconds}, but {frames} frames last {frames / FRAME_RATE}"
    return None
