"""A folder of songs, looked through file by file: headers, sizes, contents. Memory does not grow with the songs.

(But for eight bytes a file, the names in one folder at a time, and a name and a hash for each file that shares its
size with another one.)
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import soundfile

from heartopt.audio import AUDIO_SUFFIXES, NATIVE_RATES
from heartopt.audio_av import av_frames
from heartopt.audio_find import walk_audio
from heartopt.audio_read import SOUGHT, UNKNOWN_LENGTH
from heartopt.doctor.check import Examples, printable, shown
from heartopt.errors import AudioError, HeartoptError
from heartopt.files import sha256_of
from heartopt.training.data import MIN_SECONDS, find_songs

# First bytes of WAV, W64, AIFF, FLAC, AU, CAF and Ogg: training reads those with libsndfile, and some of them FFmpeg
# cannot. All else goes to FFmpeg, which is silent about broken files.
_LIBSNDFILE = (b"RIFF", b"RF64", b"riff", b"FORM", b"fLaC", b".snd", b"caff", b"OggS")
_FIRST = 4096  # samples that an attempt to open decodes
_AV_SECOND = 1_000_000  # FFmpeg counts a container's length in microseconds


@dataclass(frozen=True)
class Header:
    """What a file says of itself: `rate` in Hz; `seconds` is None where it does not say."""

    rate: int
    channels: int
    seconds: float | None


def read_header(path: Path) -> Header:
    """Read a file's header and decode its first samples: not more, whatever its length.

    Raises:
        AudioError: nothing can be decoded, or training would refuse it.
    """
    try:
        if not path.is_file():
            raise AudioError("not a regular file" if path.exists() else "no such file")
        with path.open("rb") as file:
            head = file.read(4)
        if not head:
            raise AudioError("the file is empty (0 bytes)")
        header = (_by_libsndfile(path) if head in _LIBSNDFILE else None) or _by_ffmpeg(path)
    except (OSError, av.error.FFmpegError) as error:
        raise AudioError(f"cannot be read: {error.strerror or error}") from error
    if header.seconds == 0:
        raise AudioError("has no samples (zero-length audio)")
    if header.rate not in NATIVE_RATES:
        raise AudioError(f"its header claims {header.rate} Hz, which no audio has")
    if header.channels > 2:
        raise AudioError(f"has {header.channels} channels; mix it down to one or two")
    if header.seconds is not None and header.seconds < MIN_SECONDS:
        raise AudioError(f"too short: {header.seconds:.2f} s; songs need {MIN_SECONDS:g} s")
    return header


def _by_libsndfile(path: Path) -> Header | None:
    """None where libsndfile does not know the format after all, or cannot seek in it."""
    try:
        file = soundfile.SoundFile(os.fsencode(path))
    except soundfile.LibsndfileError:
        return None
    with file:
        frames = int(file.frames)
        # Where libsndfile seeks exactly, the last sample is tried. Of Ogg it knows the length, of the others FFmpeg.
        if not file.subtype.startswith(SOUGHT):
            return _ogg_header(file) if file.format == "OGG" else None
        try:
            file.read(_FIRST)
            file.seek(max(0, frames - 1))
            whole = len(file.read(1)) == min(1, frames)
        except soundfile.LibsndfileError:
            whole = False
        if not whole:
            raise AudioError("damaged, or it breaks off before the length that its header claims")
        return Header(int(file.samplerate), int(file.channels), frames / int(file.samplerate))


def _ogg_header(file: soundfile.SoundFile) -> Header | None:
    """None where libsndfile decodes nothing of it."""
    try:
        if not len(file.read(_FIRST)):
            return None
    except soundfile.LibsndfileError:
        return None
    rate, known = int(file.samplerate), 0 < file.frames < UNKNOWN_LENGTH
    return Header(rate, int(file.channels), int(file.frames) / rate if known else None)


def _by_ffmpeg(path: Path) -> Header:
    with closing(av_frames(path)) as frames:  # type: ignore[type-var]  # it is a generator
        frame = next(frames, None)
    if frame is None:
        raise AudioError("no audio can be decoded from it")
    with av.open("file:" + os.path.abspath(path), metadata_errors="replace") as container:
        stream = container.streams.audio[0]
        if stream.duration and stream.time_base:
            seconds: float | None = float(stream.duration * stream.time_base)
        else:
            seconds = container.duration / _AV_SECOND if container.duration else None
    return Header(int(frame.sample_rate), len(frame.layout.channels), seconds)


def song_paths(source: Path) -> Iterator[Path]:
    """The files that training would find in a folder or list, one at a time. Raises HeartoptError."""
    if source.is_dir():
        yield from walk_audio(source)  # `find_audio` lists them all before it gives the first
    else:
        yield from (file.path for file in find_songs(source))


@dataclass
class Survey:
    """What the headers in `source` say. `usable` files last `seconds`, but for `unmeasured` of them; `sizes` in bytes.

    `kinds` (suffixes), `rates` (Hz) and `channels` are those of the usable files; `problems` are the others.
    """

    source: Path
    files: int = 0
    usable: int = 0
    seconds: float = 0.0
    unmeasured: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    rates: Counter[int] = field(default_factory=Counter)
    channels: Counter[int] = field(default_factory=Counter)
    problems: Examples = field(default_factory=Examples)
    sizes: array[int] = field(default_factory=lambda: array("q"))

    def add(self, path: Path) -> None:
        """Count one more file."""
        self.files += 1
        try:
            header = read_header(path)
            self.sizes.append(path.stat().st_size)
        except (AudioError, OSError) as error:
            told = str(error).removeprefix(f"{path}: ")
            self.problems.add(f"{shown(path, self.source)}: {printable(told)}")
            return
        self.usable += 1
        self.seconds += header.seconds or 0.0
        self.unmeasured += header.seconds is None
        suffix = path.suffix.lower()
        self.kinds[suffix[1:].upper() if suffix in AUDIO_SUFFIXES else "other"] += 1
        self.rates[header.rate] += 1
        self.channels[header.channels] += 1


def survey(source: Path, told: Callable[[int], None]) -> Survey:
    """Look at every file once; `told` hears how many are done. Raises HeartoptError where there is no such source."""
    result = Survey(source)
    for path in song_paths(source):
        result.add(path)
        told(result.files)
    return result


def contents(source: Path, sizes: Collection[int], told: Callable[[int], None]) -> Iterator[tuple[str, Path]]:
    """(SHA-256, path) of the files of those sizes: the only ones that can share their content with another."""
    if not sizes:
        return
    for done, path in enumerate(song_paths(source), start=1):
        with suppress(OSError, HeartoptError):  # gone or unreadable by now: nothing that could be compared
            if path.stat().st_size in sizes:
                yield sha256_of(path), path
        told(done)


def repeated(sizes: array[int]) -> set[int]:
    """The sizes that more than one file has."""
    values, counts = np.unique(np.array(sizes, dtype=np.int64), return_counts=True)
    return set(values[counts > 1].tolist())
