"""Folders as systems: token files that were made before, and anybody's rendered audio."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heartopt.audio_find import AUDIO_SUFFIXES
from heartopt.errors import ConfigError, HeartoptError, TokenError
from heartopt.evaluation.fitting import fit_tokens, read_output
from heartopt.evaluation.systems.base import Output, Place, Setup, Subject, System
from heartopt.files import sha256_of
from heartopt.tokens import TOKEN_SUFFIX, info_path, load_tokens

if TYPE_CHECKING:
    from heartopt.evaluation.suites import Song

#: What heartopt's own commands put between a song's name and an audio file's suffix.
_RENDERED = ("", ".optimized")


class _Folder(System):
    """A folder with one file a song, under the song's own relative path."""

    #: What a song's file is called after its name, for messages.
    wanted = ""

    def __init__(self, spec: str, folder: Path) -> None:
        self._spec, self._folder = spec, folder
        if not folder.is_dir():
            raise ConfigError(f"system {spec}: there is no such folder")

    def find(self, song: Song) -> Path:
        """The one file of a song. Raises HeartoptError: it is not there, or there are several."""
        for name in song.stems:
            found = sorted({path for path in self.candidates(name) if path.is_file()})
            exact = [path for path in found if path == self._folder / song.file]
            if len(exact or found) == 1:
                return (exact or found)[0]
            if found:
                names = " and ".join(path.name for path in found[:2])
                raise HeartoptError(f"system {self._spec}: has both {names} for this song; keep one of them")
        looked = f"{song.stems[0]}{self.wanted}"
        raise HeartoptError(f"system {self._spec}: has no output for this song; it was looked for as {looked}")

    @abstractmethod
    def candidates(self, name: str) -> Iterator[Path]:
        """Paths below the folder that the file of a song with this name may have."""


class TokenFolder(_Folder):
    """Token files `NAME.tokens.npy`, as `heartopt tokenize` and `heartopt optimize` write them."""

    wanted = TOKEN_SUFFIX

    def candidates(self, name: str) -> Iterator[Path]:
        yield self._folder / f"{name}{TOKEN_SUFFIX}"

    def __call__(self, setup: Setup, subject: Subject) -> Output:
        path = self.find(subject.named(self._spec))
        config = setup.codec.config
        loaded = load_tokens(path, num_quantizers=config.num_quantizers, codebook_size=config.codebook_size)
        if loaded.info is not None and loaded.info.fingerprint != setup.codec.fingerprint():
            made_for = f"{loaded.info.codec} ({loaded.info.fingerprint[:12]})"
            own = f"{setup.codec.name} ({setup.codec.fingerprint()[:12]})"
            raise TokenError(f"{path}: was made for the codec {made_for}, and this is {own}")
        samples = subject.target.shape[-1]
        tokens, offset, note = fit_tokens(loaded.tokens, subject.song, samples, str(path))
        return Output(tokens, note=note, offset=offset, timed=False)

    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        path = self.find(place.song)
        parts = [sha256_of(part) for part in (path, info_path(path)) if part.is_file()]
        return {"tokens": hashlib.sha256("".join(parts).encode()).hexdigest()}


class AudioFolder(_Folder):
    """Audio files of any format, at any rate; see `read_output` for what is done to them."""

    wanted = ".wav, .flac, .mp3, …"

    def candidates(self, name: str) -> Iterator[Path]:
        wanted = {f"{Path(name).name}{part}".casefold() for part in _RENDERED}
        parent = (self._folder / name).parent
        if parent.is_dir():
            for path in parent.iterdir():
                if path.suffix.lower() in AUDIO_SUFFIXES and path.stem.casefold() in wanted:
                    yield path

    def __call__(self, setup: Setup, subject: Subject) -> Output:
        song = subject.named(self._spec)
        audio, note = read_output(song, subject.target.shape[-1], str(self.find(song)), mixdown=setup.mixdown)
        return Output(None, audio, note=note, timed=False)

    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        return {"audio": sha256_of(self.find(place.song)), "mixdown": setup.mixdown}
