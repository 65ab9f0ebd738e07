"""Which audio files a command's arguments name."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from heartopt.errors import AudioError

# What is taken out of a folder; a file that is named itself is tried whatever it is called.
_LOSSLESS = [
    ".wav",
    ".wave",
    ".w64",
    ".rf64",
    ".aif",
    ".aiff",
    ".aifc",
    ".au",
    ".caf",
    ".flac",
    ".ape",
    ".wv",
]
_LOSSY = [".ogg", ".oga", ".opus", ".mp2", ".mp3", ".m4a", ".m4b", ".aac", ".ac3", ".mka", ".wma"]
AUDIO_SUFFIXES = frozenset(_LOSSLESS + _LOSSY)


class FoundFile(NamedTuple):
    """An input file and its name in reports: ``relative`` to the folder that it was found in, and its own."""

    path: Path
    relative: Path


def find_audio(inputs: Sequence[str | os.PathLike[str]]) -> list[FoundFile]:
    """The audio files that ``inputs`` name: files as they are given, folders recursively, in sorted order.

    A pattern such as ``albums/**/*.flac`` that no shell has expanded stands for what it matches. In folders, names that
    begin with a dot are passed over, links are followed, and a folder that is reached twice is read once. No two
    results share ``relative`` (compared without case): later ones get ``_2``, ….

    Raises:
        AudioError: a path that does not exist, a pattern without a match, a folder that cannot be listed or has no
            audio.
    """
    found: list[FoundFile] = []
    for given in map(Path, inputs):
        if _is_pattern(given):
            found += _matching(given)
            continue
        try:
            is_folder, exists = given.is_dir(), given.exists()
        except OSError as error:
            raise AudioError(f"{given}: cannot be read: {error.strerror or error}") from error
        if not exists:
            raise AudioError(f"{given}: no such file or folder")
        found += _audio_in(given) if is_folder else [FoundFile(given, Path(given.name))]
    taken: set[str] = set()
    unique: list[FoundFile] = []
    for path, relative in dict.fromkeys(found):
        candidate, count = relative, 1
        while (key := str(candidate).casefold()) in taken:
            count += 1
            candidate = relative.with_name(f"{relative.stem}_{count}{relative.suffix}")
        taken.add(key)
        unique.append(FoundFile(path, candidate))
    return unique


def _is_pattern(given: Path) -> bool:
    """Whether a path has wildcards and is not the name of a file."""
    try:
        return glob.has_magic(str(given)) and not os.path.lexists(given)
    except (OSError, ValueError):
        return False


def _matching(pattern: Path) -> list[FoundFile]:
    """The audio files that a pattern matches, and those in folders that it matches, sorted.

    Their names are relative to the pattern's part before its first wildcard. Raises AudioError where nothing matches.
    """
    fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts))
    base, paths = Path(*fixed), set()
    for match in map(Path, glob.glob(str(pattern), recursive=True)):
        if match.is_dir():
            paths |= set(walk_audio(match))
        elif match.suffix.lower() in AUDIO_SUFFIXES:
            paths.add(match)
    if not paths:
        raise AudioError(f"{pattern}: no such file or folder, and nothing matches it")
    return sorted((FoundFile(path, path.relative_to(base)) for path in paths), key=lambda file: file.relative.parts)


def _audio_in(folder: Path) -> list[FoundFile]:
    """The audio files below ``folder``, sorted by path."""
    found = [FoundFile(path, path.relative_to(folder)) for path in walk_audio(folder)]
    if not found:
        raise AudioError(f"{folder}: no audio files in this folder")
    return sorted(found, key=lambda file: file.relative.parts)


def walk_audio(folder: Path) -> Iterator[Path]:
    """The audio files below ``folder`` one at a time, those of each folder sorted; each folder once.

    Links to folders are followed; hidden files and folders are passed over. Raises AudioError.
    """

    def refuse(error: OSError) -> None:
        raise AudioError(f"{error.filename}: cannot list the folder: {error.strerror}") from error

    seen = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        kept = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(parent, name))
            if not name.startswith(".") and real not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                yield Path(parent, name)
