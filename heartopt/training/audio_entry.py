"""Audio into one safetensors file piece by piece, so that memory does not grow with the song.

A file is the length of its header (8 bytes, little endian), the header (JSON), then the values row by row. The
checksums stand in the header and are known last: they are written over a placeholder of the same length.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from heartopt.errors import AudioError, OutputError
from heartopt.training.entries import AUDIO, FULL_SCALE

_BYTES = 2  # of an int16
_CHUNK = 1 << 20


class AudioEntryWriter:
    """Takes the audio of one song in order: `samples` a channel in all, in pieces `[C, n]`.

    Samples beyond full scale are clipped; the rounding is 96 dB below it.
    """

    def __init__(self, file: BinaryIO, channels: int, samples: int) -> None:
        self.channels, self.samples = channels, samples
        self._file = file
        self._done = 0
        self._checksums = [0] * channels
        self._begin = file.write(_header(channels, samples, self._checksums))

    def write(self, audio: Tensor) -> None:
        """Append float32 `audio [C, n]`. Raises AudioError where it is more than was promised."""
        if audio.shape[0] != self.channels or self._done + audio.shape[1] > self.samples:
            raise AudioError(f"audio {list(audio.shape)} after {self._done} of [{self.channels}, {self.samples}]")
        levels = (audio * FULL_SCALE).round_().clamp_(-FULL_SCALE, FULL_SCALE - 1).to(torch.int16)
        for channel, row in enumerate(levels.contiguous().numpy().astype("<i2", copy=False)):
            self._file.seek(self._begin + (channel * self.samples + self._done) * _BYTES)
            self._file.write(row.data)
            self._checksums[channel] = zlib.crc32(row.data, self._checksums[channel])
        self._done += audio.shape[1]

    def finish(self) -> None:
        """Fill with zeros up to the end, then put the checksums into the header."""
        while missing := min(_CHUNK, self.samples - self._done):
            self.write(torch.zeros(self.channels, missing))
        self._file.seek(0)
        self._file.write(_header(self.channels, self.samples, self._checksums))

    def check(self, file: BinaryIO) -> bool:
        """Whether `file` holds what was written."""
        file.seek(self._begin)
        for checksum in self._checksums:
            found, left = 0, self.samples * _BYTES
            while left and (chunk := file.read(min(_CHUNK, left))):
                found, left = zlib.crc32(chunk, found), left - len(chunk)
            if left or found != checksum:
                return False
        return True


@contextmanager
def write_audio_entry(path: Path, channels: int, samples: int) -> Iterator[AudioEntryWriter]:
    """A writer of the entry at `path`, which is whole and read back once when the block ends.

    It is read back here because nothing does it later: unlike latents, audio entries are too large (an hour of
    stereo is 0.7 GB) to read whole at the start of every run just to check them.

    Raises:
        OSError: the file cannot be written.
        OutputError: the disk gives back something else.
    """
    with open(path, "w+b") as file:
        writer = AudioEntryWriter(file, channels, samples)
        yield writer
        writer.finish()
        file.flush()
        if not writer.check(file):
            raise OutputError(f"{path.parent}: the disk gives back other bytes than were written; use another cache")


def entry_bytes(channels: int, samples: int) -> int:
    """The size of an entry's file."""
    return len(_header(channels, samples, [0] * channels)) + channels * samples * _BYTES


def _header(channels: int, samples: int, checksums: list[int]) -> bytes:
    tensor = {"dtype": "I16", "shape": [channels, samples], "data_offsets": [0, channels * samples * _BYTES]}
    meta = {"crc32": " ".join(f"{checksum:08x}" for checksum in checksums)}
    text = json.dumps({"__metadata__": meta, AUDIO: tensor}).encode()
    text += b" " * (-len(text) % 8)  # aligned values
    return len(text).to_bytes(8, "little") + text
