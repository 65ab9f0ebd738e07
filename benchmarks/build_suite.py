"""Cut a suite's excerpts out of the songs of Debian packages.

    python benchmarks/build_suite.py benchmarks/suites/heldout.yaml                  # fetches the packages
    python benchmarks/build_suite.py benchmarks/suites/heldout.yaml --music FOLDER   # packages unpacked there

Each song's `source` in the YAML names package, path, SHA-256, start and seconds. Excerpts are written as
16-bit FLAC at the song's own rate to the paths that the YAML gives, relative to the YAML or to `--output`;
the latter also gets a copy of the YAML, in which each file has its SHA-256. Fetching needs `apt-get` and
`dpkg` (no root).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile
import yaml

from heartopt.errors import AudioError, ConfigError, HeartoptError
from heartopt.files import atomic_path, sha256_of, write_text

DEFAULT_CACHE = Path.home() / ".cache" / "heartopt" / "suites"


def build_suite(
    suite: Path, *, output: Path | None = None, music: Path | None = None, cache: Path = DEFAULT_CACHE
) -> list[Path]:
    """Write every song of `suite` that has a `source`; returns the excerpts' paths.

    Args:
        output: folder for the excerpts and a YAML with their hashes; default: beside `suite`, no YAML.
        music: a folder that holds the unpacked packages, each in a folder or all in one; nothing is fetched.
        cache: where fetched packages are kept.

    Raises:
        ConfigError: the suite cannot be read.
        AudioError: a package or a song that cannot be had, or a song with another hash or too short.
    """
    record = _read(suite)
    folder = suite.parent if output is None else output
    written = []
    for song in record["songs"]:
        source = song["source"]
        original = _find(source, music) if music is not None else _fetch(source, cache)
        if (found := sha256_of(original)) != source["sha256"]:
            wanted = source["sha256"][:12]
            raise AudioError(f"{original}: SHA-256 is {found[:12]}…, the suite wants {wanted}…")
        path = folder / song["file"]
        _cut(original, path, start=source["start"], seconds=source["seconds"])
        song["sha256"] = sha256_of(path)
        written.append(path)
    if output is not None:
        text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=1000)
        write_text(output / suite.name, text)
    return written


def _read(suite: Path) -> dict[str, Any]:
    wanted = {"package", "path", "sha256", "start", "seconds"}
    try:
        record = yaml.safe_load(suite.read_text(encoding="utf-8"))
        complete = all(wanted <= set(song["source"]) for song in record["songs"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{suite}: not a suite whose songs have a source: {error}") from error
    if not complete:
        raise ConfigError(f"{suite}: every source needs {', '.join(sorted(wanted))}")
    result: dict[str, Any] = record
    return result


def _find(source: dict[str, Any], music: Path) -> Path:
    """The song under `music`, or under one of its folders."""
    for root in (music, *sorted(path for path in music.glob("*") if path.is_dir())):
        if (root / source["path"]).is_file():
            return Path(root / source["path"])
    raise AudioError(f"{music}: holds no {source['path']} (Debian package {source['package']})")


def fetch_package(package: str, cache: Path = DEFAULT_CACHE) -> Path:
    """The folder of an unpacked Debian package, from `apt-get download`; fetched once. Raises AudioError."""
    folder = cache / package
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        print(f"fetching {package} …", file=sys.stderr)
        _run(["apt-get", "download", "-q", package], cache)
        for deb in sorted(cache.glob(f"{package}_*.deb")):
            _run(["dpkg", "-x", deb.name, package], cache)
            deb.unlink()
    return folder


def _fetch(source: dict[str, Any], cache: Path) -> Path:
    """The song, from its package."""
    song = fetch_package(source["package"], cache) / source["path"]
    if not song.is_file():
        raise AudioError(f"Debian package {source['package']} of this system has no {source['path']}; give --music")
    return song


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise AudioError(f"{command[0]} is not on this machine: unpack the packages, give --music") from error
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split()) or f"exit code {error.returncode}"
        raise AudioError(f"{' '.join(command)} failed: {reason}") from error


def _cut(original: Path, path: Path, *, start: float, seconds: float) -> None:
    """Write `seconds` from `start` of a song as 16-bit FLAC at its own rate."""
    with soundfile.SoundFile(original) as file:
        rate, first = file.samplerate, round(start * file.samplerate)
        count = round(seconds * rate)
        if first + count > file.frames:
            lasts, wanted = file.frames / rate, f"{start:g} + {seconds:g}"
            raise AudioError(f"{original}: lasts {lasts:.2f} s, the suite wants {wanted} s")
        file.seek(first)
        audio = file.read(count, dtype="float32", always_2d=True)
    with atomic_path(path) as temporary:
        soundfile.write(temporary, audio.clip(-1.0, 1.0), rate, format="FLAC", subtype="PCM_16")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path, help="the suite's YAML")
    parser.add_argument("--output", type=Path, help="folder for the excerpts and a YAML with their hashes")
    parser.add_argument("--music", type=Path, help="folder with the packages unpacked; fetches nothing")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where fetched packages are kept")
    given = parser.parse_args(arguments)
    try:
        written = build_suite(given.suite, output=given.output, music=given.music, cache=given.cache)
    except HeartoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(written)} excerpts in {written[0].parent}" if written else "the suite names no songs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
