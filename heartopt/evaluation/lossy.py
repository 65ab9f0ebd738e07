"""Lossy codecs that everybody knows, there and back in memory: MP3, Opus and AAC at a bitrate, by PyAV (FFmpeg)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from heartopt.audio import SAMPLE_RATE, resample
from heartopt.errors import AudioError, ConfigError, HeartoptError

Samples = npt.NDArray[np.float32]

_HALF_RATE_KBPS = (16, 24)  # kbit/s that MP3 only has at half the sampling rate (MPEG-2 layer III)


@dataclass(frozen=True)
class LossyCodec:
    """A codec of stereo at 48 kHz.

    Attributes:
        encoder: FFmpeg's name of it.
        container: the file format around it, one that states the codec's delay and the length.
        sample_format: of the samples that the encoder takes.
        kbps: the bitrates it has, in kbit/s.
        rates: those in words.
    """

    encoder: str
    container: str
    sample_format: str
    kbps: Sequence[int]
    rates: str


_MP3_KBPS = (*_HALF_RATE_KBPS, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
LOSSY_CODECS = {
    "mp3": LossyCodec("libmp3lame", "mp3", "fltp", _MP3_KBPS, ", ".join(map(str, _MP3_KBPS))),
    "opus": LossyCodec("libopus", "ogg", "flt", range(12, 511), "12 to 510"),
    "aac": LossyCodec("aac", "mp4", "fltp", range(24, 321), "24 to 320"),
}


def lossy_roundtrip(audio: Tensor, codec: str, kbps: int) -> tuple[Tensor, float]:
    """Encode stereo `[2, N]` at 48 kHz and decode it again: the sound `[2, N]`, in time to the sample, and its kbit/s.

    The container says how much the encoder put in front and behind, and FFmpeg drops that, so the result lies
    where the input lies. Encoders are FFmpeg's: LAME (constant bitrate; it may lower the level by some per
    cent), libopus (its default, variable bitrate) and FFmpeg's own AAC-LC. MP3 below 32 kbit/s exists only at
    lower sampling rates: it goes through 24 kHz. Nothing is clipped here. The same input gives the same output.

    Args:
        audio: `[2, N]` floating point, N at least 1.
        codec: "mp3", "opus" or "aac".
        kbps: the nominal bitrate in kbit/s; see `LOSSY_CODECS` for those possible.

    Returns:
        The decoded sound, and the actual bitrate in kbit/s: bits of all packets over the seconds of the input,
        without the container's own. In less than a second the first and last frames' padding dominates it.

    Raises:
        AudioError: audio of another shape, or not finite.
        ConfigError: an unknown codec or a bitrate that it does not have.
        HeartoptError: this FFmpeg lacks the encoder, or fails.
    """
    chosen = check_lossy(codec, kbps)
    if audio.dim() != 2 or audio.shape[0] != 2 or audio.shape[1] == 0 or not audio.is_floating_point():
        raise AudioError(
            f"{codec} takes floating-point stereo [2, samples], not {audio.dtype} {list(audio.shape)}"
        )
    if not audio.isfinite().all():
        raise AudioError(f"{codec} cannot encode audio with NaN or infinite samples")
    half = codec == "mp3" and kbps in _HALF_RATE_KBPS
    rate = SAMPLE_RATE // 2 if half else SAMPLE_RATE
    samples = audio.detach().float().cpu()
    source = resample(samples, SAMPLE_RATE, rate) if half else samples
    try:
        file, size = _encode(source.numpy(), chosen, kbps, rate)
        decoded = torch.from_numpy(_decode(file))
    except av.error.FFmpegError as error:
        raise HeartoptError(f"{codec} at {kbps} kbit/s failed: {error.strerror or error}") from error
    decoded = resample(decoded, rate, SAMPLE_RATE) if half else decoded
    length = audio.shape[1]
    decoded = functional.pad(decoded, (0, max(0, length - decoded.shape[1])))[:, :length]
    return decoded.to(audio), size * 8 / (length / SAMPLE_RATE) / 1000


def check_lossy(codec: str, kbps: int) -> LossyCodec:
    """The codec of this name, if it has this bitrate and FFmpeg has its encoder. Raises as `lossy_roundtrip`."""
    chosen = LOSSY_CODECS.get(codec)
    if chosen is None:
        raise ConfigError(f"unknown lossy codec {codec}: choose from {', '.join(LOSSY_CODECS)}")
    if kbps not in chosen.kbps:
        raise ConfigError(f"{codec} has no {kbps} kbit/s: choose from {chosen.rates}")
    try:
        av.Codec(chosen.encoder, "w")
    except av.codec.codec.UnknownCodecError as error:
        raise HeartoptError(
            f"{codec}: this FFmpeg has no encoder {chosen.encoder}; install PyAV from a wheel (pip install av)"
        ) from error
    return chosen


def _encode(samples: Samples, codec: LossyCodec, kbps: int, rate: int) -> tuple[bytes, int]:
    """The file, and the bytes of its packets."""
    file, size = io.BytesIO(), 0
    frame = av.AudioFrame.from_ndarray(
        _interleaved(samples) if codec.sample_format == "flt" else np.ascontiguousarray(samples),
        format=codec.sample_format,
        layout="stereo",
    )
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
    with av.open(file, "w", format=codec.container) as container:
        stream: Any = container.add_stream(codec.encoder, rate=rate)
        stream.bit_rate = kbps * 1000
        stream.codec_context.layout = "stereo"
        stream.codec_context.format = codec.sample_format
        for part in (frame, None):  # None: what the encoder still holds
            for packet in stream.encode(part):
                size += packet.size
                container.mux(packet)
    return file.getvalue(), size


def _decode(file: bytes) -> Samples:
    """Samples `[2, n]`, without the delay and the padding that the container tells of."""
    planar = av.AudioResampler(format="fltp")
    with av.open(io.BytesIO(file), "r") as container:
        frames = [part for frame in container.decode(audio=0) for part in planar.resample(frame)]
    return np.concatenate([np.zeros((2, 0), np.float32), *(frame.to_ndarray() for frame in frames)], axis=1)


def _interleaved(samples: Samples) -> Samples:
    return np.ascontiguousarray(samples.T).reshape(1, -1)
