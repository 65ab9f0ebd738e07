"""Decoders: native samples of any audio file, by position, without holding the file in memory.

Lossless files are read where they are needed. Lossy ones are decoded forward only: after a seek, libsndfile's
Vorbis, Opus and variable-rate MP3 samples differ from those of a straight run (by up to full scale), and
PyAV's seeks stop at packets. What was decoded last is kept, so that reading on, with some overlap, decodes
nothing twice.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from heartopt.audio_av import av_blocks, av_frames
from heartopt.errors import AudioError

_log = logging.getLogger(__name__)

Samples = npt.NDArray[np.float32]  # [n, C]

_BLOCK = 1 << 16  # samples decoded at a time
_HISTORY = 1 << 21  # decoded samples kept behind the newest one: 47 s at 44.1 kHz, 17 MB in stereo
SOUGHT = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")  # subtypes that libsndfile seeks exactly; FLAC is PCM
UNKNOWN_LENGTH = 1 << 40  # samples; libsndfile claims far more where a file does not say
_MPEG_SUFFIXES = {".mp1", ".mp2", ".mp3"}


class Decoder(Protocol):
    """Native samples of one file: ``rate`` in Hz, ``channels``, ``frames`` (samples a channel)."""

    rate: int
    channels: int
    frames: int

    def read(self, start: int, stop: int) -> Samples:
        """Samples ``[start, stop)`` as ``[stop - start, C]``; AudioError if the file breaks off before."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class SeekingDecoder:
    """A lossless file that libsndfile reads at any position."""

    def __init__(self, path: Path, file: Any) -> None:
        self._path, self._file = path, file
        self.rate, self.channels, self.frames = int(file.samplerate), int(file.channels), int(file.frames)

    def read(self, start: int, stop: int) -> Samples:
        try:
            self._file.seek(start)
            samples: Samples = self._file.read(stop - start, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            where = f"between {start / self.rate:.2f} and {stop / self.rate:.2f} s"
            raise AudioError(f"{self._path}: damaged {where}: {_reason(error)}") from error
        if len(samples) < stop - start:
            raise AudioError(f"{self._path}: breaks off at {(start + len(samples)) / self.rate:.2f} s")
        return samples

    def close(self) -> None:
        self._file.close()


class ForwardDecoder:
    """A file that is decoded from its start on, and again from its start for what lies too far back.

    Args:
        path: for messages.
        blocks: begins a decoding run: a generator of ``[n, C]`` blocks, which closes its file when it is
            closed.
        frames: samples there are; None counts them, by decoding the file once.
    """

    def __init__(
        self,
        path: Path,
        blocks: Callable[[], Iterator[Samples]],
        rate: int,
        channels: int,
        frames: int | None,
    ) -> None:
        self._path, self._blocks = path, blocks
        self.rate, self.channels = rate, channels
        self.frames = sum(len(block) for block in blocks()) if frames is None else frames
        self._run: Iterator[Samples] | None = None
        self._kept: deque[tuple[int, Samples]] = deque()
        self._decoded = 0

    def read(self, start: int, stop: int) -> Samples:
        if self._run is None or start < (self._kept[0][0] if self._kept else self._decoded):
            self.close()
            self._run = self._blocks()
        while self._decoded < stop:
            block = next(self._run, None)
            if block is None:
                raise AudioError(f"{self._path}: breaks off at {self._decoded / self.rate:.2f} s")
            self._kept.append((self._decoded, block))
            self._decoded += len(block)
            needed = min(start, self._decoded - _HISTORY)
            while self._kept[0][0] + len(self._kept[0][1]) <= needed:
                self._kept.popleft()
        parts = [block[max(0, start - at) : max(0, stop - at)] for at, block in self._kept]
        return np.concatenate(parts)

    def close(self) -> None:
        if self._run is not None:
            self._run.close()  # type: ignore[attr-defined]  # every run is a generator
        self._run = None
        self._kept.clear()
        self._decoded = 0


def open_decoder(path: Path) -> Decoder:
    """The decoder for a file: libsndfile where it can, else PyAV (FFmpeg).

    Raises:
        AudioError: missing, a folder, empty, unreadable, not audio, or with nothing that can be decoded.
    """
    _check_file(path)
    if _looks_like_mpeg(path) and (reason := _ffmpeg_refusal(path)):
        # libmpg123 would print its troubles on standard error before it refuses; FFmpeg is silent.
        raise AudioError(f"{path}: no audio can be decoded from it ({reason})")
    try:
        return _open_soundfile(path)
    except soundfile.LibsndfileError:
        return _open_av(path)


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise AudioError(f"{path}: is a folder, not an audio file")
        if not path.exists():
            raise AudioError(f"{path}: no such file")
        if not path.is_file():
            raise AudioError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            if not file.read(1):
                raise AudioError(f"{path}: the file is empty (0 bytes)")
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror or error}") from error
    if path.suffix.lower() in {".raw", ".vox"}:
        raise AudioError(f"{path}: headerless audio says nothing of its rate and channels; convert it to WAV")


def _looks_like_mpeg(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(3)
    sync = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    return path.suffix.lower() in _MPEG_SUFFIXES or head == b"ID3" or sync


def _ffmpeg_refusal(path: Path) -> str | None:
    """Why FFmpeg finds no audio in a file, None if it decodes some."""
    try:
        for _ in av_frames(path):
            return None
    except AudioError as error:
        return str(error).rpartition(": ")[2]
    return "nothing decodable"


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A SoundFile that is only read on: of a seekable file, soundfile seeks (inexactly) after each read."""

    def seekable(self) -> bool:
        return False


def _open_soundfile(path: Path) -> Decoder:
    """A decoder on libsndfile. Raises LibsndfileError where it does not know the format."""
    file = soundfile.SoundFile(os.fsencode(path))
    if file.subtype.startswith(SOUGHT) and _reaches_end(file):
        return SeekingDecoder(path, file)
    with file:
        rate, channels, claimed = int(file.samplerate), int(file.channels), int(file.frames)
        # An Ogg file's last page has its length (but for chained streams, which claim 2^63 samples). An MP3's
        # is a guess, a lossless file's is wrong where it is cut short.
        frames = claimed if file.format == "OGG" and (claimed == 0 or _reaches_end(file)) else None
    decoder = ForwardDecoder(path, lambda: _soundfile_blocks(path), rate, channels, frames)
    if decoder.frames == 0 and claimed > 0:
        raise AudioError(f"{path}: no audio can be decoded from it")
    if decoder.frames < claimed - rate and claimed < UNKNOWN_LENGTH:
        seconds, promised = decoder.frames / rate, claimed / rate
        _log.warning("%s: breaks off at %.1f s of the %.1f s that it claims to have", path, seconds, promised)
    return decoder


def _reaches_end(file: Any) -> bool:
    """Whether the last sample that the header claims is there."""
    try:
        file.seek(max(0, file.frames - 1))
        return bool(len(file.read(1)) == min(1, file.frames))
    except soundfile.LibsndfileError:
        return False


def _soundfile_blocks(path: Path) -> Iterator[Samples]:
    with suppress(soundfile.LibsndfileError), _ForwardFile(os.fsencode(path)) as file:
        # A file that is cut short ends where libsndfile gives up.
        while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
            yield block


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")


def _open_av(path: Path) -> Decoder:
    first = next(av_frames(path), None)
    if first is None:
        raise AudioError(f"{path}: no audio can be decoded from it")
    channels, rate = len(first.layout.channels), int(first.sample_rate)
    return ForwardDecoder(path, lambda: av_blocks(path), rate, channels, None)
