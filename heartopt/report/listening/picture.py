"""Spectrograms and waveforms as the page draws them: grey levels, which it colours for its light and dark theme."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from heartopt.audio import SAMPLE_RATE
from heartopt.shimmer import DeshimmerParams

Grey = npt.NDArray[np.uint8]

#: Samples of a frame, and its longest and shortest step.
FFT_SIZE, LONGEST_HOP, SHORTEST_HOP = 2_048, 512, 64
#: The picture in pixels; long excerpts are averaged to the width, short ones are narrower.
WIDTH, HEIGHT = 720, 176
#: The vertical axis ends here; it is linear in mel.
TOP_HZ = 20_000.0
TICKS_HZ = (500, 1_000, 2_000, 4_000, 8_000, 16_000)
#: What grey levels span, from black up to the original's loudest cell, and how many of them there are.
RANGE_DB, LEVELS = 80.0, 64


@dataclass(frozen=True)
class Band:
    """A band of frequencies in Hz to mark."""

    low: float
    high: float
    name: str


def shimmer_bands() -> tuple[Band, ...]:
    """Where shimmer is looked for, wide, and where the deshimmer works, narrow."""
    params = DeshimmerParams()
    return (Band(4_000.0, 8_000.0, "4–8 kHz"), Band(params.low, params.high, "shimmer 5.1–7.2 kHz"))


def height_of(hertz: float) -> float:
    """Where a frequency lies on the vertical axis: 0 at the bottom (0 Hz) to 1 at the top; linear in mel (HTK)."""
    return math.log1p(hertz / 700) / math.log1p(TOP_HZ / 700)


def level_db(audio: Tensor) -> Tensor:
    """Levels of `audio [C, N]` in dB, `[HEIGHT, width]`, highest frequencies first.

    The power's mean over the channels, so that nothing cancels; each row shows its loudest bin, so that narrow
    lines stay visible where a row spans many.
    """
    samples = audio.shape[-1]
    hop = min(max(samples // WIDTH, SHORTEST_HOP), LONGEST_HOP)
    frames = math.ceil(samples / hop)
    left = (FFT_SIZE - hop) // 2  # so that a frame's middle is the middle of its step
    padded = functional.pad(audio, (left, (frames - 1) * hop + FFT_SIZE - left - samples))
    window = torch.hann_window(FFT_SIZE)
    power = torch.stft(padded, FFT_SIZE, hop, window=window, center=False, return_complex=True).abs().square().mean(0)
    power = functional.adaptive_avg_pool1d(power, min(frames, WIDTH))
    return 10 * (_rows(power) + 1e-12).log10()


def _rows(power: Tensor) -> Tensor:
    """From bins to rows: the loudest value that the line through the bins takes within each row."""
    edges = 700 * torch.expm1(torch.linspace(0, math.log1p(TOP_HZ / 700), HEIGHT + 1, dtype=torch.float64))
    edges = edges * FFT_SIZE / SAMPLE_RATE  # in bins
    rows = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        inside = power[math.ceil(low) : math.floor(high) + 1]
        ends = torch.stack([_between(power, low), _between(power, high)])
        rows.append(torch.cat([inside, ends]).amax(0))
    return torch.stack(rows[::-1])


def _between(power: Tensor, place: float) -> Tensor:
    below = math.floor(place)
    return torch.lerp(power[below], power[below + 1], place - below)


def to_grey(level: Tensor, loudest: float) -> Grey:
    """Grey levels: 0 at 80 dB below `loudest` (in dB) and less, 252 at `loudest` and more, in steps of 4."""
    share = (1 + (level - loudest) / RANGE_DB).clamp(0, 1)
    return ((share * (LEVELS - 1)).round() * (256 // LEVELS)).to(torch.uint8).numpy()


def to_png(grey: Grey) -> bytes:
    """A grey PNG of `[height, width]`."""
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width = grey.shape
    encoder.pix_fmt = "gray"
    encoder.time_base = Fraction(1, 1)
    encoder.options = {"pred": "up"}
    file = io.BytesIO()
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(grey), format="gray")
    for packet in [*encoder.encode(frame), *encoder.encode(None)]:
        file.write(bytes(packet))
    return file.getvalue()


def outline(audio: Tensor, gain: float = 1.0) -> bytes:
    """The waveform's outline: lowest and highest sample of each column by turns, in signed bytes; 127 is full scale."""
    count = min(WIDTH, audio.shape[-1])
    columns = audio.tensor_split(count, dim=-1)
    ends = [value for column in columns for value in (float(column.min()), float(column.max()))]
    return bytes(np.clip(np.round(np.array(ends) * gain * 127), -127, 127).astype(np.int8).tobytes())

