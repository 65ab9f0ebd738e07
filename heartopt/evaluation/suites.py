"""Suites as data: a YAML file that names songs or excerpts, their licences, systems and judge seeds.

name: mini
about: Three excerpts ...
systems:                             # optional; see `heartopt.evaluation.systems.FORMS`
  - projection
  - trained=projection:checkpoints/best.safetensors   # files and folders relative to the YAML
  - {name: longer, system: optimized, settings: {steps: 80}}
against: projection                  # optional: the system that differences are taken from
metrics: [stft, mel]                 # optional
seeds: [101, 102]                    # optional
songs:
  - file: excerpts/nebula.flac       # relative to the YAML
    name: nebula, beginning          # what rows call it; optional: the file's name. Excerpts of one file need it
    start: 0.0                       # seconds, optional
    seconds: 8.0                     # optional: to the end
    sha256: 0f3a...                  # of the file, optional
    title: Nebula
    author: Maxstack
    licence: CC-BY-SA-3.0
    source: {package: ..., path: ...}  # optional: where a script finds it
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import yaml
from torch import Tensor

from heartopt.audio import SAMPLE_RATE, AudioFile, find_audio, stereo
from heartopt.errors import AudioError, ConfigError
from heartopt.evaluation.systems.specs import SystemSpec
from heartopt.files import sha256_of

_ROUNDING_SECONDS = 0.01  # so much may an excerpt reach beyond its file's end
_SUITE_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "about": str,
    "systems": list,
    "against": str,
    "metrics": list,
    "seeds": list,
    "songs": list,
}
_SYSTEM_KEYS: Mapping[str, type | tuple[type, ...]] = {"name": str, "system": str, "settings": dict}
_SONG_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "file": str,
    "name": str,
    "start": (int, float),
    "seconds": (int, float),
    "sha256": str,
    "title": str,
    "author": str,
    "licence": str,
    "source": dict,
}


@dataclass(frozen=True)
class Song:
    """One song, or an excerpt of it.

    Attributes:
        name: what rows call it; unique in its suite.
        path: the audio file.
        start, seconds: the excerpt; `seconds` None means to the end.
        details: title, author, licence, sha256, source, as the suite gives them.
        mixdown: take more than two channels as their mean.
        file: the file's path in its suite or folder; what is looked for in folders of outputs.
        stems: names, without a suffix, under which such folders may have the song's output; best first.
    """

    name: str
    path: Path
    start: float = 0.0
    seconds: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    mixdown: bool = False
    file: str = ""
    stems: tuple[str, ...] = ()

    @property
    def is_excerpt(self) -> bool:
        """Whether it is a part of its file."""
        return self.start > 0 or self.seconds is not None

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the file. Raises HeartoptError."""
        return sha256_of(self.path)

    def identity(self) -> dict[str, Any]:
        """What its sound depends on; JSON types only. Raises HeartoptError where the file cannot be read."""
        return {"sha256": self.digest, "start": self.start, "seconds": self.seconds, "mixdown": self.mixdown}

    def read(self) -> Tensor:
        """The excerpt as stereo `[2, N]` at 48 kHz. Raises AudioError."""
        start = round(self.start * SAMPLE_RATE)
        stop = None if self.seconds is None else start + round(self.seconds * SAMPLE_RATE)
        with AudioFile(self.path, mixdown=self.mixdown) as audio:
            if start >= audio.num_samples:
                raise AudioError(f"{self.path}: lasts {audio.seconds:.2f} s, so nothing begins at {self.start:g} s")
            if stop is not None and stop > audio.num_samples + round(_ROUNDING_SECONDS * SAMPLE_RATE):
                wanted = f"{self.seconds:g} s from {self.start:g} s on"
                raise AudioError(f"{self.path}: lasts {audio.seconds:.2f} s, so it has no {wanted}")
            return stereo(audio.read(start, stop))

    def whole_samples(self) -> int:
        """The length of the whole file in samples at 48 kHz. Raises AudioError."""
        with AudioFile(self.path, mixdown=self.mixdown) as audio:
            return audio.num_samples


@dataclass(frozen=True)
class Suite:
    """Songs to judge on, and, where the suite says so, the systems, metrics and judge seeds to use."""

    name: str
    songs: tuple[Song, ...]
    about: str = ""
    systems: tuple[SystemSpec, ...] | None = None
    seeds: tuple[int, ...] | None = None
    metrics: tuple[str, ...] | None = None
    against: str | None = None


def files_suite(paths: Sequence[Path], *, name: str = "files", mixdown: bool = False) -> Suite:
    """A suite of audio files, as given, and folders, searched recursively. Raises AudioError."""
    found = find_audio(paths)
    songs = (Song(str(file.relative), file.path, mixdown=mixdown, file=str(file.relative)) for file in found)
    return Suite(name, with_stems(songs))


def with_stems(songs: Iterable[Song]) -> tuple[Song, ...]:
    """The songs with the names under which folders may have their outputs.

    A song's own name and its file's path, each without its suffix; then the file's base name, as of a run on the files
    themselves. A name that two files would share is nobody's.
    """
    songs = tuple(songs)
    names = [_possible_stems(song) for song in songs]
    owners: dict[str, set[Path]] = {}
    for song, stems in zip(songs, names, strict=True):
        for stem in stems:
            owners.setdefault(stem.casefold(), set()).add(song.path)
    return tuple(
        replace(song, stems=tuple(stem for stem in stems if len(owners[stem.casefold()]) == 1) or stems[:1])
        for song, stems in zip(songs, names, strict=True)
    )


def _possible_stems(song: Song) -> tuple[str, ...]:
    file = PurePath(song.file or song.name)
    own = (song.name,) if song.name != song.file else ()  # a name of its own is no file's, and has no suffix
    return tuple(dict.fromkeys((*own, str(file.with_name(file.stem)), file.stem)))


def load_suite(path: str | Path) -> Suite:
    """Read a suite's YAML: every file must be there and have its hash.

    Raises:
        ConfigError: unreadable YAML, an unknown or missing key, a value of another type, a repeated name, a
            missing file or one with another hash.
    """
    path = Path(path)
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigError(f"suite {path}: cannot be read: {reason}") from error
    record = _checked(record, _SUITE_KEYS, required=("name", "songs"), where=f"suite {path}")
    if Path(record["name"]).name != record["name"]:
        raise ConfigError(f"suite {path}: name {record['name']!r} cannot name its report's files")
    songs = with_stems(_song(entry, path) for entry in record["songs"])
    if not songs:
        raise ConfigError(f"suite {path}: has no songs")
    if len({song.name for song in songs}) < len(songs):
        raise ConfigError(f"suite {path}: names a song twice; give excerpts of one file a name each")
    systems, seeds, metrics = (record.get(key) for key in ("systems", "seeds", "metrics"))
    if seeds is not None and not all(type(seed) is int for seed in seeds):  # true is an int too
        raise ConfigError(f"suite {path}: seeds must be whole numbers, not {seeds}")
    return Suite(
        name=record["name"],
        songs=songs,
        about=record.get("about", ""),
        systems=None if systems is None else tuple(_system(entry, path) for entry in systems),
        seeds=None if seeds is None else tuple(seeds),
        metrics=None if metrics is None else tuple(str(metric) for metric in metrics),
        against=record.get("against"),
    )


def _song(entry: Any, suite: Path) -> Song:
    entry = _checked(entry, _SONG_KEYS, required=("file",), where=f"suite {suite}: a song")
    path = suite.parent / entry["file"]
    if not path.is_file():
        hint = "; build it with benchmarks/build_suite.py" if "source" in entry else ""
        raise ConfigError(f"suite {suite}: {entry['file']} is not there{hint}")
    if "sha256" in entry and (found := sha256_of(path)) != entry["sha256"]:
        raise ConfigError(f"suite {suite}: {entry['file']} has SHA-256 {found[:12]}…, not {entry['sha256'][:12]}…")
    start, seconds = float(entry.get("start", 0.0)), entry.get("seconds")
    if not 0 <= start < math.inf or (seconds is not None and not 0 < seconds < math.inf):
        raise ConfigError(f"suite {suite}: {entry['file']}: start must not be negative, and seconds above 0")
    details = {key: entry[key] for key in ("title", "author", "licence", "sha256", "source") if key in entry}
    name = entry.get("name", entry["file"])
    return Song(name, path, start, None if seconds is None else float(seconds), details, file=entry["file"])


def _system(entry: Any, suite: Path) -> SystemSpec:
    """`NAME=SYSTEM`, or a mapping that may have settings. Whether there is such a system is seen when it is made."""
    if isinstance(entry, str):
        try:
            return SystemSpec.parse(entry, suite.parent)
        except ConfigError as error:
            raise ConfigError(f"suite {suite}: {error}") from error
    entry = _checked(entry, _SYSTEM_KEYS, required=("system",), where=f"suite {suite}: a system")
    settings = entry.get("settings", {})
    try:
        json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:  # YAML has dates, JSON has none
        raise ConfigError(f"suite {suite}: a system: settings hold what JSON cannot: {error}") from error
    return SystemSpec(entry.get("name", entry["system"]), entry["system"], settings, suite.parent)


def _checked(
    record: Any, keys: Mapping[str, type | tuple[type, ...]], *, required: Sequence[str], where: str
) -> dict[str, Any]:
    """The mapping, if it has the required keys and no unknown ones, each of its type. Raises ConfigError."""
    if not isinstance(record, dict):
        raise ConfigError(f"{where}: must be a mapping, not {type(record).__name__}")
    if unknown := [str(key) for key in record if key not in keys]:
        raise ConfigError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(keys)}")
    if missing := [key for key in required if key not in record]:
        raise ConfigError(f"{where}: has no {', '.join(missing)}")
    for key, value in record.items():
        if not isinstance(value, keys[key]) or isinstance(value, bool):
            raise ConfigError(f"{where}: {key} is {value!r}, of the wrong type")
    return record
