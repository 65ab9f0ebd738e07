"""Anybody's own system: a Python function."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heartopt.audio import SAMPLE_RATE
from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError, HeartoptError, TokenError
from heartopt.evaluation.fitting import fit_audio, fit_tokens, to_tensor
from heartopt.evaluation.systems.base import Output, Place, Setup, Subject, System


@dataclass(frozen=True)
class GivenSong:
    """What a `python:module.function` system is called with.

    Attributes:
        audio: the song or its excerpt, float32 `[2, N]` on the CPU; its own copy.
        sample_rate: 48000.
        codec: the codec that tokens will be decoded with.
        seed: for what the function draws; another one for each song, the same in every run.
        name: what the suite calls the song.
    """

    audio: Tensor
    codec: HeartCodec
    seed: int
    name: str
    sample_rate: int = SAMPLE_RATE


class PythonSystem(System):
    """`function(song: GivenSong, **settings)` -> tokens `[K, F]` (integers) or audio `[C, N]` at 48 kHz (floats).

    Tensors or arrays. Tokens are for the run's codec, F = ceil(12.5 · seconds); audio is as long as the song. The
    module is looked for in the working folder too. Whatever the function raises is that row's failure.

    What is kept of its outputs goes by the module's own source file: where it imports other files that change, or is
    random beyond `song.seed`, evaluate with --no-cache.

    Raises:
        ConfigError: the module cannot be imported or has no such function.
    """

    def __init__(self, target: str, settings: Mapping[str, Any] | None = None) -> None:
        self._spec = f"python:{target}"
        self._settings = dict(settings or {})
        self._function = import_function(target, self._spec)

    def __call__(self, setup: Setup, subject: Subject) -> Output:
        name = str(subject.index) if subject.song is None else subject.song.name
        given = GivenSong(subject.target.clone(), setup.codec, subject.song_seed(setup.seed), name)
        where = f"system {self._spec}"
        try:
            with torch.no_grad():
                made = self._function(given, **self._settings)
        except (Exception, SystemExit) as error:  # whatever somebody's function raises
            raise HeartoptError(f"{where} failed: {_one_line(error)}") from error
        found = to_tensor(made, where)
        samples = subject.target.shape[-1]
        if found.is_floating_point():
            audio, note = fit_audio(found[None] if found.dim() == 1 else found, samples, where)
            return Output(None, audio, note=note)
        tokens, offset, note = fit_tokens(_checked_tokens(found, setup.codec, where), None, samples, where)
        return Output(tokens, note=note, offset=offset)

    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        source = source_digest(self._function)
        fixed = {"python": self._spec, "settings": self._settings, "source": source}
        return {**fixed, "seed": setup.seed, "index": place.index, "name": place.song.name}


def import_function(target: str, where: str) -> Callable[..., Any]:
    """`module.function`, from the working folder too. Raises ConfigError."""
    module, _, name = target.rpartition(".")
    if not module or not name:
        raise ConfigError(f"system {where}: write python:MODULE.FUNCTION, such as python:my_codec.encode")
    try:
        with working_folder_importable():
            function = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # whatever somebody's module raises
        raise ConfigError(f"system {where} cannot be imported: {_one_line(error)}") from error
    if not callable(function):
        raise ConfigError(f"system {where}: {name} is {type(function).__name__}, not a function")
    made: Callable[..., Any] = function
    return made


@contextmanager
def working_folder_importable() -> Iterator[None]:
    """Modules in the working folder can be imported inside the block, as with `python -m`."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the module may have removed it
            sys.path.remove(folder)


def source_digest(thing: object) -> str:
    """The SHA-256 of the source file that a function or a class is from; "" where there is none."""
    try:
        file = inspect.getsourcefile(thing)  # type: ignore[arg-type]
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    except (TypeError, OSError):
        return ""


def _checked_tokens(tokens: Tensor, codec: HeartCodec, where: str) -> Tensor:
    levels, size = codec.config.num_quantizers, codec.config.codebook_size
    if tokens.dim() != 2 or tokens.shape[0] != levels or tokens.shape[1] == 0 or tokens.dtype == torch.bool:
        kind = str(tokens.dtype).removeprefix("torch.")
        raise TokenError(f"{where}: gave {kind} {list(tokens.shape)}, not tokens [{levels}, frames]")
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= size:
        raise TokenError(f"{where}: gave codes from {low} to {high}; this codec has 0 to {size - 1}")
    return tokens.cpu().long()


def _one_line(error: BaseException) -> str:
    """What went wrong, with its kind, in one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
