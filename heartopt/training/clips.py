"""What a projection sounds like: held-out clips through the real decoder, as WAV files and as metrics."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from heartopt.audio import SAMPLE_RATE, stereo, write_audio
from heartopt.codec import HeartCodec
from heartopt.errors import HeartoptError, OutputError
from heartopt.metrics import TIER_METRIC, average, code_statistics, measure, tier
from heartopt.projection import EncoderProjection
from heartopt.training.clip_songs import Clip, read_clips
from heartopt.training.crops import Song

_log = logging.getLogger(__name__)  # below the logger that `training.log` is written from

Figures = dict[str, float | str]


@dataclass(frozen=True)
class ClipsRecord:
    """How the held-out clips sound after `step` steps.

    `metrics`: means over the clips, those of a metric that is not installed left out, and `usage` and `perplexity` of
    all their codes together (means over levels); `tier` of the mean `stft`; `best`: the lowest mean `stft` so far.
    `clips`: one row a clip, with its name as `clip`. `deshimmered`: the means after the deshimmer, where it was asked
    for; its codes are the same, so they are not counted again. Without a single clip, `metrics` is empty.
    """

    step: int
    epoch: float
    metrics: dict[str, float]
    tier: str
    best: bool
    clips: tuple[Figures, ...]
    deshimmered: dict[str, float] | None
    kind: str = field(default="clips", init=False)


@dataclass(frozen=True)
class Heard:
    """One decoded clip: its codes `[K, F]`, its metrics, and those of its deshimmered version."""

    codes: Tensor
    figures: Figures
    deshimmered: Figures | None


class Clips:
    """Clips of held-out songs, read once; `judge` decodes, writes and measures them.

    `folder` gets `NAME_original.wav` (once a run) and, at each judging, `NAME_epoch0005.wav` and
    `NAME_epoch0005_deshimmered.wav`; NAME is the song's relative path, made flat and harmless. What is beyond full
    scale is clipped in the files, with a warning, and measured as it is.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        *,
        codec: HeartCodec,
        count: int,
        folder: Path,
        decode_steps: int,
        deshimmer: bool = False,
    ) -> None:
        """Take one clip each of at most `count` songs (see `read_clips`); nothing is written yet.

        Raises:
            OutputError: cached latents cannot be read.
        """
        self.clips = read_clips(songs, codec, count)
        self.folder = folder
        self.decode_steps = decode_steps
        self.deshimmer = deshimmer
        self._originals_written = False

    @torch.no_grad()
    def judge(
        self,
        projection: EncoderProjection,
        codec: HeartCodec,
        *,
        step: int,
        epoch: float,
        best_stft: float = math.inf,
    ) -> ClipsRecord:
        """Judge `projection` as it is, which is left in evaluation mode. `epoch`, rounded up, names the files;
        `best_stft` is the lowest mean `stft` before this one.

        A clip that fails is left out with a warning; the other clips' mean is then never the best, for it may be of
        the easier ones.

        Raises:
            OutputError: a file cannot be written.
        """
        projection.eval()
        peaks: dict[str, float] = {}
        if not self._originals_written:
            for clip in self.clips:
                self._write(f"{clip.name}_original", clip.original, peaks)
            self._originals_written = True
        label = f"epoch{math.ceil(epoch - 1e-6):04d}"  # a whole epoch may be off by a rounding error
        heard: dict[str, Heard] = {}
        for clip in self.clips:
            try:
                heard[clip.name] = self._hear(clip, projection, codec, label, peaks)
            except OutputError:
                raise
            except HeartoptError as error:
                _log.warning("%s: this clip is left out after step %d: %s", clip.name, step, error)
        _warn_of_clipping(peaks, step)
        metrics = _means([one.figures for one in heard.values()])
        stft = metrics.get(TIER_METRIC, math.nan)
        if heard:
            codes = torch.cat([one.codes for one in heard.values()], dim=-1)
            statistics = code_statistics(codes, codec.config.codebook_size).metrics()
            metrics |= {name: statistics[name] for name in ("usage", "perplexity")}
        cleaned = [one.deshimmered for one in heard.values() if one.deshimmered is not None]
        return ClipsRecord(
            step=step,
            epoch=epoch,
            metrics=metrics,
            tier=tier(stft),
            best=len(heard) == len(self.clips) and math.isfinite(stft) and stft < best_stft,
            clips=tuple({"clip": name, **one.figures} for name, one in heard.items()),
            deshimmered=_means(cleaned) if cleaned else None,
        )

    def _hear(
        self, clip: Clip, projection: EncoderProjection, codec: HeartCodec, label: str, peaks: dict[str, float]
    ) -> Heard:
        """Decode `clip`, write and measure it, and again deshimmered where that is asked for."""
        codes = clip.codes(projection, codec)
        decoded = codec.detokenize(codes, num_steps=self.decode_steps, generator=clip.noise())
        audio = decoded[:, : clip.original.shape[-1]].float().cpu()
        self._write(f"{clip.name}_{label}", audio, peaks)
        original = stereo(clip.original)
        figures, cleaned = measure(audio, original), None
        if self.deshimmer:
            from heartopt.deshimmer import DeshimmerParams, deshimmer

            audio = deshimmer(audio, SAMPLE_RATE, DeshimmerParams())
            self._write(f"{clip.name}_{label}_deshimmered", audio, peaks)
            cleaned = measure(audio, original)
        return Heard(codes.cpu(), figures, cleaned)

    def _write(self, name: str, audio: Tensor, peaks: dict[str, float]) -> None:
        """Write `audio [C, n]` as NAME.wav and keep its peak in `peaks`."""
        write_audio(self.folder / f"{name}.wav", audio)
        peaks[name] = float(audio.abs().max())


def _warn_of_clipping(peaks: dict[str, float], step: int) -> None:
    """One warning for all WAV files that could not hold their audio."""
    loud = {name: 20 * math.log10(peak) for name, peak in peaks.items() if peak > 1}
    if loud:
        name = max(loud, key=loud.__getitem__)
        _log.warning(
            "clipped to full scale: %d of the WAV files after step %d, %s.wav by %.1f dB; figures are of the unclipped",
            len(loud), step, name, loud[name],
        )  # fmt: skip


def _means(rows: Sequence[Figures]) -> dict[str, float]:
    """The mean of each metric over the rows that have a number for it (NaN counts as none)."""
    means: dict[str, float] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        numbers = [value for row in rows if not isinstance(value := row.get(name, ""), str)]
        if numbers and not isinstance(mean := average(numbers), str):
            means[name] = mean
    return means
