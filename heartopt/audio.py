"""Audio in and out: any file or tensor as float32 (at 48 kHz), in parts or whole; WAV and FLAC files out.

``C`` channels (1 or 2), ``N`` samples at 48 kHz.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import soundfile
import torch
from torch import Tensor

from heartopt.audio_find import AUDIO_SUFFIXES, FoundFile, find_audio
from heartopt.audio_read import open_decoder
from heartopt.errors import AudioError, OutputError
from heartopt.files import atomic_path
from heartopt.resampling import resample, resample_span, resampled_length

__all__ = [
    "AUDIO_SUFFIXES", "SAMPLE_RATE", "AudioFile", "AudioSource", "AudioTensor", "AudioWriter", "FoundFile",
    "find_audio", "read_audio", "resample", "stereo", "write_audio",
]  # fmt: skip

SAMPLE_RATE = 48_000  # Hz: the codec's
NATIVE_RATES = range(1_000, 768_001)  # Hz; anything else is a damaged header
_WRITTEN = {".wav": "WAV", ".flac": "FLAC"}
_LARGEST_WAV = 0xFFFF_FFFF - 4096  # bytes: a WAV header counts them in 32 bits


class AudioSource(Protocol):
    """Something that gives 48 kHz samples by position: a file or a tensor."""

    @property
    def channels(self) -> int:
        """1 or 2."""
        ...

    @property
    def num_samples(self) -> int:
        """N, at 48 kHz."""
        ...

    @property
    def seconds(self) -> float:
        """``num_samples / 48000``."""
        ...

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Samples ``[start, stop)``, float32 ``[C, stop - start]``; ``stop`` None or too large: the end."""
        ...


class AudioFile:
    """An audio file as float32 at 48 kHz, read in parts with flat memory.

    Parts equal the same slices of the whole to float32 rounding. Lossy files are decoded forward (see
    ``audio_read``): reading on is cheap, going back by more than about 45 s decodes again from the start.

    Args:
        path: any format that libsndfile or FFmpeg reads.
        mixdown: give a file of more than two channels as mono, their mean, instead of refusing it.
        native: leave it at its own rate: samples count at `rate`, not at 48 kHz.

    Raises:
        AudioError: missing, a folder, empty, not audio, no samples, more than two channels without
            ``mixdown``; while reading: NaN or infinite samples, damage.
    """

    def __init__(self, path: str | os.PathLike[str], *, mixdown: bool = False, native: bool = False) -> None:
        self.path = Path(path)
        self._decoder = open_decoder(self.path)
        self.sample_rate = self._decoder.rate  # the file's own
        self._native_samples = self._decoder.frames
        native_channels = self._decoder.channels
        problem = None
        if self._native_samples < 1:
            problem = "has no samples (zero-length audio)"
        elif self.sample_rate not in NATIVE_RATES:
            problem = f"its header claims {self.sample_rate} Hz, which no audio has"
        elif native_channels > 2 and not mixdown:
            problem = f"has {native_channels} channels; pass --mixdown to mix them down to mono"
        if problem:
            self.close()
            raise AudioError(f"{self.path}: {problem}")
        self._mixed = native_channels > 2
        self.channels = 1 if self._mixed else native_channels
        self.rate = self.sample_rate if native else SAMPLE_RATE
        self.num_samples = resampled_length(self._native_samples, self.sample_rate, self.rate)

    @property
    def seconds(self) -> float:
        return self.num_samples / self.rate

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        start, stop = _span(start, stop, self.num_samples)
        if start == stop:
            return torch.empty(self.channels, 0)
        return resample_span(self._native, self._native_samples, self.sample_rate, self.rate, start, stop)

    def _native(self, start: int, stop: int) -> Tensor:
        """Native samples ``[C, stop - start]``, checked."""
        samples = torch.from_numpy(self._decoder.read(start, stop)).T
        if problem := _not_finite(samples, start, self.sample_rate):
            raise AudioError(f"{self.path}: {problem}")
        return samples.mean(0, keepdim=True) if self._mixed else samples

    def close(self) -> None:
        """Close the file; also done at the end of a ``with`` block."""
        self._decoder.close()

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AudioTensor:
    """48 kHz audio in memory, ``[C, N]`` or ``[N]``, with the face of an :class:`AudioFile`.

    Raises:
        AudioError: not floating point, another shape, no samples, more than two channels, NaN or infinite
            samples.
    """

    def __init__(self, audio: Tensor) -> None:
        self._audio = _checked(audio, "audio").detach().float()
        self.channels, self.num_samples = self._audio.shape

    @property
    def seconds(self) -> float:
        return self.num_samples / SAMPLE_RATE

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        start, stop = _span(start, stop, self.num_samples)
        return self._audio[:, start:stop]


def _span(start: int, stop: int | None, num_samples: int) -> tuple[int, int]:
    stop = num_samples if stop is None else min(stop, num_samples)
    if start < 0 or stop < 0:
        raise AudioError(f"sample positions count from the start, from 0 on: got {start} to {stop}")
    return min(start, stop), stop


def _not_finite(samples: Tensor, start: int, rate: int) -> str | None:
    """Where ``samples [C, n]``, from position ``start`` on, hold NaN or infinity; None if nowhere."""
    bad = ~torch.isfinite(samples)
    if not bool(bad.any()):
        return None
    first = int(bad.any(0).int().argmax())
    return f"NaN or infinite sample at {(start + first) / rate:.3f} s; repair the file or cut that part out"


def _checked(audio: Tensor, name: str) -> Tensor:
    """``audio`` as ``[C, N]``, found fit to use. ``name`` is for messages."""
    if not audio.is_floating_point():
        raise AudioError(f"{name}: samples must be floating point in -1..1, not {audio.dtype}")
    if audio.dim() == 1:
        audio = audio[None]
    if audio.dim() != 2 or audio.shape[0] not in (1, 2):
        raise AudioError(f"{name}: must be [1 or 2 channels, samples], not {list(audio.shape)}")
    if audio.shape[1] == 0:
        raise AudioError(f"{name}: has no samples (zero-length audio)")
    if problem := _not_finite(audio, 0, SAMPLE_RATE):
        raise AudioError(f"{name}: {problem}")
    return audio


def read_audio(path: str | os.PathLike[str], *, mixdown: bool = False) -> Tensor:
    """The whole file as float32 ``[C, N]`` at 48 kHz. Raises AudioError as :class:`AudioFile` does."""
    with AudioFile(path, mixdown=mixdown) as file:
        return file.read()


def stereo(audio: Tensor) -> Tensor:
    """``[C, N]`` -> ``[2, N]``: mono is repeated. Raises AudioError for more than two channels."""
    if audio.dim() != 2 or audio.shape[0] not in (1, 2):
        raise AudioError(f"audio must be [1 or 2 channels, samples], not {list(audio.shape)}")
    return audio if audio.shape[0] == 2 else audio.repeat(2, 1)


class AudioWriter:
    """Writes a file block by block: ``.wav`` (24-bit PCM) or ``.flac`` (24-bit).

    Use it in a ``with`` block: the file gets its name when the block ends without an error, not before.
    Samples beyond full scale are clipped.

    Raises:
        AudioError: another suffix, blocks of another shape, NaN or infinite samples, no samples at all.
        OutputError: the file cannot be written, or a WAV would pass 4 GiB.
    """

    def __init__(
        self, path: str | os.PathLike[str], channels: int = 2, sample_rate: int = SAMPLE_RATE
    ) -> None:
        self.path = Path(path)
        self._format = _WRITTEN.get(self.path.suffix.lower())
        if self._format is None:
            raise AudioError(
                f"{self.path}: audio is written as .wav or .flac, not {self.path.suffix or 'without'}"
            )
        self.channels, self.sample_rate = channels, sample_rate
        self.num_samples = 0
        self._stack = ExitStack()
        self._file: Any = None

    def __enter__(self) -> AudioWriter:
        with ExitStack() as opening:
            temporary = os.fsencode(opening.enter_context(atomic_path(self.path)))
            form = {"samplerate": self.sample_rate, "channels": self.channels, "format": self._format}
            self._file = self._guard(lambda: soundfile.SoundFile(temporary, "w", subtype="PCM_24", **form))
            opening.callback(self._file.close)
            self._stack = opening.pop_all()  # from here on __exit__ closes and renames
        return self

    def write(self, audio: Tensor) -> None:
        """Append ``audio [C, n]``."""
        if self._file is None:
            raise OutputError(f"{self.path}: an AudioWriter writes only inside its with block")
        samples = _checked(audio, str(self.path)).detach().float().cpu()
        if samples.shape[0] != self.channels:
            raise AudioError(
                f"{self.path}: a block has {samples.shape[0]} channels, the file {self.channels}"
            )
        self.num_samples += samples.shape[1]
        if self._format == "WAV" and self.num_samples * self.channels * 3 > _LARGEST_WAV:
            raise OutputError(f"{self.path}: a WAV file cannot pass 4 GiB; write .flac")
        block = samples.clamp(-1.0, 1.0).T.contiguous().numpy()
        self._guard(lambda: self._file.write(block))

    def _guard(self, action: Callable[[], Any]) -> Any:
        """Run ``action``, with soundfile's failures as OutputError."""
        try:
            return action()
        except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all was written
            reason = getattr(error, "error_string", "").rstrip(".")  # without the temporary file's name
            raise OutputError(f"cannot write {self.path}: {reason or 'the disk may be full'}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file = None
        if kind is None and self.num_samples == 0:
            error = AudioError(f"{self.path}: there were no samples to write")
            self._stack.__exit__(AudioError, error, None)
            raise error
        self._stack.__exit__(kind, error, trace)


def write_audio(path: str | os.PathLike[str], audio: Tensor, sample_rate: int = SAMPLE_RATE) -> None:
    """Write ``audio [C, N]`` (or ``[N]``) as 24-bit WAV or FLAC, by suffix; atomic, clipped to full scale.

    Raises AudioError and OutputError as :class:`AudioWriter` does.
    """
    samples = _checked(audio, str(path))
    with AudioWriter(path, samples.shape[0], sample_rate) as writer:
        writer.write(samples)
