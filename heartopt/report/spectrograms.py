"""Spectrograms one above the other: a song, what its tokens sound like, and what is louder or quieter than it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from heartopt.audio import SAMPLE_RATE
from heartopt.losses import SHIMMER_BAND
from heartopt.report.figures import need_matplotlib, new_figure, plain_text, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

#: Samples of a spectrum; a column at most every `SHORTEST_HOP` samples, and at most `MOST_COLUMNS` a song.
FFT_SIZE, SHORTEST_HOP, MOST_COLUMNS = 2048, 256, 2000
#: What is shown: Hz from 0 up; dB below the loudest cell of all of them; dB louder and quieter in a difference.
TOP_HERTZ, LEVELS_DB, DIFFERENCE_DB = 12_000.0, 80.0, 30.0
#: Inches of a panel's height.
PANEL_HEIGHT = 1.75

_FLOOR = 1e-7  # of full scale: -140 dB
_SMOOTHED = (5, 9)  # bins and columns (117 Hz, 48 ms) that a cell of a difference is the mean power of


def draw_sounds(path: Path, *, title: str, sounds: Mapping[str, Tensor], rows: str = "") -> None:
    """Draw the sounds' spectrograms, and how the last differs from the first, into the PNG file `path`, atomically.

    `sounds`: name -> audio `[2, N]` at 48 kHz; such as the original, what a search started from, and its result.
    `rows`: see `save_figure`.

    Raises:
        HeartoptError: matplotlib is not installed.
        OutputError: `path` cannot be written.
    """
    need_matplotlib("spectrograms")
    save_figure(make_figure(title=title, sounds=sounds), path, rows=rows)


def make_figure(*, title: str, sounds: Mapping[str, Tensor]) -> Figure:
    """A panel a sound, and one for the difference where there are two or more, over one time axis."""
    count = panels(sounds)
    figure = new_figure(13.0, PANEL_HEIGHT * count + 0.9, title)
    axes = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    draw_panels(figure, axes, sounds)
    axes[0].set_xlim(0.0, max(audio.shape[-1] for audio in sounds.values()) / SAMPLE_RATE)
    axes[-1].set_xlabel("seconds")
    return figure


def panels(sounds: Mapping[str, Tensor]) -> int:
    """How many panels `draw_panels` needs."""
    return len(sounds) + (len(sounds) > 1)


def draw_panels(figure: Figure, axes: Sequence[Axes], sounds: Mapping[str, Tensor]) -> None:
    """One panel a sound, all in one colour scale, then the difference of the last from the first; the band marked."""
    found = [spectrogram(audio) for audio in sounds.values()]
    loudest = max((float(level.max()) for level, _ in found), default=0.0)
    images: list[AxesImage] = []
    scale = {"cmap": "magma", "vmin": loudest - LEVELS_DB, "vmax": loudest}
    for axis, name, (level, hop) in zip(axes, sounds, found, strict=False):
        images.append(_image(axis, level, hop, name, **scale))
        _mark_band(axis, "white", "black")
    if images:
        label = "level (dB of full scale)"
        figure.colorbar(images[0], ax=list(axes[: len(images)]), label=label, aspect=30, pad=0.01)
    if len(sounds) > 1:
        names = list(sounds)
        title = f"difference: {names[-1]} − {names[0]} (red: louder, blue: quieter)"
        pair = sounds[names[-1]], sounds[names[0]]
        apart, hop = difference(*pair, floor=loudest - LEVELS_DB)
        scale = {"cmap": "RdBu_r", "vmin": -DIFFERENCE_DB, "vmax": DIFFERENCE_DB}
        image = _image(axes[-1], apart, hop, title, **scale)
        _mark_band(axes[-1], "black", "white")
        figure.colorbar(image, ax=axes[-1], label="dB", aspect=9, pad=0.01, extend="both")


def spectrogram(audio: Tensor) -> tuple[np.ndarray, float]:
    """`[C, N]` -> the mean channel's levels `[bins, columns]` from 0 to `TOP_HERTZ`, and the seconds from one column
    to the next. In dB of full scale: a full-scale sine has 0. Column k stands around the k-th of these times.
    """
    hop = _hop(audio.shape[-1])
    return _decibels(_magnitude(audio, hop)), hop / SAMPLE_RATE


def difference(audio: Tensor, reference: Tensor, *, floor: float) -> tuple[np.ndarray, float]:
    """Levels of `audio` minus those of `reference` in dB, `[bins, columns]`; what is below `floor` in both is equal.
    And the seconds from one column to the next.

    Each cell is the mean power around it: a decoder that draws its noise hits a level, but no single cell.
    """
    samples = max(audio.shape[-1], reference.shape[-1])
    levels = []
    for sound in (audio, reference):
        padded = torch.nn.functional.pad(sound, (0, samples - sound.shape[-1]))
        power = _magnitude(padded, _hop(samples)).square()[None, None]
        around = torch.nn.functional.avg_pool2d(
            power, _SMOOTHED, stride=1, padding=[size // 2 for size in _SMOOTHED], count_include_pad=False
        )
        levels.append(np.maximum(_decibels(around[0, 0].sqrt()), floor))
    return levels[0] - levels[1], _hop(samples) / SAMPLE_RATE


def _hop(samples: int) -> int:
    """Samples from one column to the next."""
    return max(SHORTEST_HOP, math.ceil(samples / MOST_COLUMNS))


def _magnitude(audio: Tensor, hop: int) -> Tensor:
    samples = audio.shape[-1]
    centres = torch.arange(0, samples, hop, device=audio.device)
    places = centres[:, None] + torch.arange(FFT_SIZE, device=audio.device) - FFT_SIZE // 2
    inside = (places >= 0) & (places < samples)
    frames = audio.detach()[:, places.clamp(0, samples - 1)].float().mean(0) * inside
    window = torch.hann_window(FFT_SIZE, device=audio.device)
    bins = round(TOP_HERTZ * FFT_SIZE / SAMPLE_RATE) + 1
    magnitude: Tensor = torch.fft.rfft(frames * window).abs()[:, :bins] * (2 / window.sum())
    return magnitude.T


def _decibels(magnitude: Tensor) -> np.ndarray:
    level: np.ndarray = (20 * magnitude.clamp(min=_FLOOR).log10()).cpu().numpy()
    return level


def _image(axis: Axes, values: np.ndarray, hop: float, title: str, **scale: Any) -> AxesImage:
    """`values [bins, columns]` over kHz and seconds."""
    half_bin = SAMPLE_RATE / FFT_SIZE / 2000
    edges = (-hop / 2, (values.shape[1] - 0.5) * hop, -half_bin, TOP_HERTZ / 1000 + half_bin)
    image = axis.imshow(values, origin="lower", aspect="auto", extent=edges, **scale)
    axis.set_title(plain_text(title), loc="left", fontsize=10.5, parse_math=False)
    axis.set_ylim(0.0, TOP_HERTZ / 1000)
    axis.set_yticks(range(0, int(TOP_HERTZ / 1000) + 1, 4))
    axis.set_ylabel("kHz")
    return image


def _mark_band(axis: Axes, colour: str, around: str) -> None:
    """Lines at the borders of the shimmer band, and what they are, in `colour` on an edge of `around`."""
    from matplotlib.patheffects import withStroke

    low, high = (hertz / 1000 for hertz in SHIMMER_BAND)
    for border in (low, high):
        axis.axhline(border, color=colour, linewidth=0.8, linestyle=(0, (6, 4)))
    label = axis.annotate(
        f"shimmer band, {low:g}–{high:g} kHz",
        xy=(1.0, high),
        xycoords=axis.get_yaxis_transform(),
        xytext=(-6, -3),
        textcoords="offset points",
        ha="right",
        va="top",
        color=colour,
        fontsize=8.5,
    )
    label.set_path_effects([withStroke(linewidth=2.0, foreground=around)])
