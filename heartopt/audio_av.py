"""What FFmpeg decodes (M4A, AAC and whatever libsndfile does not know), through PyAV, from the start on."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from heartopt.errors import AudioError


def av_frames(path: Path) -> Iterator[Any]:
    """The decoded frames of a file's (first) audio stream.

    Undecodable packets before the first and after the last good frame are passed over; one in between is an
    error, because what follows it would sound too early.
    """
    try:
        # The prefix keeps FFmpeg from reading a protocol into a name with a colon.
        with av.open("file:" + os.path.abspath(path), metadata_errors="replace") as container:
            if not container.streams.audio:
                raise AudioError(f"{path}: has no audio in it")
            stream = container.streams.audio[0]
            seconds, broken = 0.0, False
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    broken = True
                    continue
                if frames and broken and seconds:
                    raise AudioError(f"{path}: damaged at {seconds:.2f} s; convert or copy it again")
                broken = broken and not frames
                for frame in frames:
                    seconds += frame.samples / frame.sample_rate
                    yield frame
    except (av.error.FFmpegError, OSError, UnicodeError) as error:
        raise AudioError(f"{path}: cannot be decoded as audio: {_av_reason(error)}") from error


def _av_reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def av_blocks(path: Path) -> Iterator[npt.NDArray[np.float32]]:
    """Decoded samples, as float, without what the encoder put before the song and, in MP4, after it.

    MP4 and Matroska files and MP3 headers say how long the delay is, and FFmpeg drops it. A bare AAC stream
    says nothing; but its first frame only primes the decoder's overlap, and every encoder puts at least that
    one there.
    """
    skip, left = _av_trim(path)
    converter = av.AudioResampler(format="fltp")
    rate = None
    for frame in av_frames(path):
        if skip:
            skip -= 1
            continue
        if rate not in (None, frame.sample_rate):
            raise AudioError(f"{path}: its sample rate changes in the middle; convert it to WAV")
        rate = frame.sample_rate
        try:
            converted = converter.resample(frame)
        except ValueError as error:
            raise AudioError(f"{path}: its channels change in the middle; convert it to WAV") from error
        for part in converted:
            block = part.to_ndarray().T.astype(np.float32, copy=False)
            yield block if left is None else block[: max(0, left)]
            left = None if left is None else left - len(block)


def _av_trim(path: Path) -> tuple[int, int | None]:
    """How many frames to drop at the start, and how many samples there are (None: all that come)."""
    with av.open("file:" + os.path.abspath(path), metadata_errors="replace") as container:
        stream = container.streams.audio[0]
        if container.format.name == "aac":
            return 1, None
        if "mp4" in container.format.name.split(",") and stream.duration and stream.time_base:
            return 0, math.ceil(stream.duration * stream.time_base * stream.sample_rate)
    return 0, None
