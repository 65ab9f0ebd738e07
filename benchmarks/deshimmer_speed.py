"""Deshimmer speed: `heartopt.deshimmer` against a frame-by-frame NumPy loop of the same method, one thread each.

    OMP_NUM_THREADS=1 python benchmarks/deshimmer_speed.py SONG --report reports

The first `--seconds` of SONG at 48 kHz, stereo. The two take turns; a ratio is that of neighbours. Their results are
compared first: a difference above 2e-5 is an error. The share of the transforms is the time that the same number of
forward and inverse FFTs alone takes, in the same turn. Writes REPORT/deshimmer.json and .md.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from train_common import machine

from heartopt.audio import SAMPLE_RATE, AudioFile, stereo
from heartopt.deshimmer import deshimmer
from heartopt.errors import HeartoptError
from heartopt.files import write_json, write_text
from heartopt.shimmer import DeshimmerParams

Array = NDArray[Any]
FLOOR = 1e-12
AGREEMENT = 2e-5


def numpy_loop(audio: Array, rate: int, params: DeshimmerParams) -> Array:
    """`[C, N]` -> `[C, N]`: every frame by itself, transformed there and back whole."""
    channels, samples = audio.shape
    size, hop = params.fft_size, params.hop
    window = np.hanning(size).astype(audio.dtype)
    bins = params.bins(rate)
    band = slice(bins.start, bins.stop)
    hertz = np.arange(bins.start, bins.stop) * rate / size
    inside = np.minimum(hertz - params.low, params.high - hertz)
    edge = (1 - np.cos(np.pi * np.clip(inside / params.edge, 0, 1))) / 2
    frames = size // hop + math.ceil(samples / hop)
    padded = np.zeros((channels, (frames - 1) * hop + size), dtype=audio.dtype)
    padded[:, size : size + samples] = audio
    output, weight = np.zeros_like(padded), np.zeros(padded.shape[1], dtype=audio.dtype)
    before = 10 * np.log10(FLOOR)
    for frame in range(frames):
        at = slice(frame * hop, frame * hop + size)
        spectrum = np.fft.rfft(padded[:, at] * window)
        power = np.abs(spectrum[:, band]).mean(axis=0) ** 2 + FLOOR
        level, mean = 10 * np.log10(power), 10 * np.log10(power.mean())
        gain = frame_gain(level, mean, mean - before, edge, params)
        before = mean
        spectrum[:, band] *= gain
        output[:, at] += np.fft.irfft(spectrum, n=size) * window
        weight[at] += window**2
    whole = (output / np.maximum(weight, 1e-8))[:, size : size + samples]
    whole = audio + params.mix * (whole - audio)
    fade = min(round(params.fade * rate), samples // 2)
    ramp = np.linspace(0, 1, fade, dtype=audio.dtype)
    whole[:, :fade] *= ramp
    whole[:, samples - fade :] *= ramp[::-1]
    return whole


def frame_gain(level: Array, mean: float, rise: float, edge: Array, params: DeshimmerParams) -> Array:
    """One frame's gains from its levels in dB, the level of its mean power and by how much that rose."""
    half = params.median_bins // 2
    around = np.lib.stride_tricks.sliding_window_view(np.pad(level, half, mode="edge"), params.median_bins)
    residual = level - np.median(around, axis=-1)
    over = residual > params.threshold
    attenuation = params.slope * np.maximum(residual - params.threshold, 0)
    noise = _ramp(10 ** ((level.mean() - mean) / 10), params.flatness)
    steady, narrow = 1 - _ramp(rise, params.transient), 1 - _ramp(over.mean(), params.density)
    gain: Array = 1 - noise * steady * narrow * edge * (1 - 10 ** (-attenuation / 20))
    return gain


def _ramp(value: float, ends: tuple[float, float]) -> float:
    return float(np.clip((value - ends[0]) / (ends[1] - ends[0]), 0, 1))


def transforms(audio: torch.Tensor, params: DeshimmerParams, block: int = 128) -> None:
    """As many forward transforms, and inverse ones, as the method can need of `audio` `[C, N]`; nothing else."""
    window = torch.hann_window(params.fft_size, periodic=False)
    framed = audio.unfold(-1, params.fft_size, params.hop)
    for first in range(0, framed.shape[1], block):
        spectrum = torch.fft.rfft(framed[:, first : first + block] * window)
        torch.fft.irfft(spectrum, n=params.fft_size)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(audio: torch.Tensor, params: DeshimmerParams, repeats: int) -> dict[str, list[float]]:
    """Seconds of each side in each turn. Raises HeartoptError where the two do not agree."""
    samples = audio.numpy()
    ours, theirs = deshimmer(audio, SAMPLE_RATE, params).numpy(), numpy_loop(samples, SAMPLE_RATE, params)
    apart = float(np.abs(ours - theirs).max())
    if not apart < AGREEMENT:
        raise HeartoptError(f"the two sides differ by {apart:.1e}: their times say nothing")
    found: dict[str, list[float]] = {"heartopt": [], "loop": [], "transforms": []}
    for _ in range(repeats):
        found["heartopt"].append(timed(lambda: deshimmer(audio, SAMPLE_RATE, params)))
        found["loop"].append(timed(lambda: numpy_loop(samples, SAMPLE_RATE, params)))
        found["transforms"].append(timed(lambda: transforms(audio, params)))
    return found


def page(record: Mapping[str, Any]) -> str:
    """The report, as Markdown. It follows from the record alone."""
    found, seconds, info = record["turns"], record["seconds"], record["machine"]
    ratios = [slow / fast for slow, fast in zip(found["loop"], found["heartopt"], strict=True)]
    shares = [part / whole for part, whole in zip(found["transforms"], found["heartopt"], strict=True)]
    speeds = {name: [seconds / one for one in found[name]] for name in ("heartopt", "loop")}
    rows = [
        ("`heartopt.deshimmer`, times real time", _spread(speeds["heartopt"], "{:.0f}")),
        ("the frame-by-frame NumPy loop, times real time", _spread(speeds["loop"], "{:.0f}")),
        ("ratio", _spread(ratios, "{:.2f}")),
        ("the transforms alone, share of heartopt's time", _spread(shares, "{:.2f}")),
    ]
    lines = [
        "# Deshimmer: speed",
        "",
        "Written by `benchmarks/deshimmer_speed.py`: regenerate it, do not edit it.",
        "",
        f"{seconds:.0f} s of stereo at 48 kHz, one thread each, {len(ratios)} turns; medians [lowest, highest]; a "
        f"ratio is that of neighbours. torch {info['torch']}, {info['cores']} cores ({info['processor']}).",
        "",
        "| | |",
        "|---|---:|",
        *(f"| {name} | {figure} |" for name, figure in rows),
        "",
        "The transforms are those of every frame, there and back; heartopt transforms back only what it removes.",
    ]
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float], form: str) -> str:
    low, middle, high = (form.format(of(values)) for of in (min, statistics.median, max))
    return f"{middle} [{low}, {high}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("song", type=Path)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--report", type=Path, default=Path("reports"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        with AudioFile(given.song) as file:
            audio = stereo(file.read(0, round(given.seconds * SAMPLE_RATE)))
        found = measure(audio, DeshimmerParams(), given.repeats)
        record = {"seconds": audio.shape[1] / SAMPLE_RATE, "turns": found, "machine": machine()}
        write_json(given.report / "deshimmer.json", record)
        write_text(given.report / "deshimmer.md", page(record))
    except HeartoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(page(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
