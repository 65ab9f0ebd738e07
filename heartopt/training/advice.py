"""Advice on a run that goes badly: the training report's remedies, with the flags to set.

Each is a line for the log. Thresholds are the report's where it names one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heartopt.tokens import FRAME_RATE
from heartopt.training.records import entries, mean, number
from heartopt.training.settings import TrainSettings

#: Codes of a codebook in one batch, mean over levels, below which the report speaks of poor usage.
POOR_USAGE = 100.0
#: A batch of fewer code frames, or a smaller codebook, could not show many more codes than that.
ROOM_FOR_USAGE = 200
#: Steps that usage is averaged over, so that one batch of quiet music is not a cause.
USAGE_STEPS = 50
#: Usage that is this many times the threshold is cured: it does not waver around it.
CURED = 1.2
#: Of the last so many steps, so many skipped ones are a cause where the losses were finite: float16's loss scaling
#: skips a few steps until it has found its scale.
SKIP_STEPS, SKIPS = 100, 5
#: Decibels above the originals from which on shimmer is heard as such.
SHIMMER_DB = 3.0
#: No relative improvement of so much within so many validations is a plateau.
IMPROVEMENT, PATIENCE = 0.005, 8
#: The share of its peak above which the learning rate is high: later, small improvements are what is to be expected.
HIGH_RATE = 0.5


@dataclass
class Latch:
    """Lets a thing be said once, until its cause has gone and come back."""

    told: bool = False

    def opens(self, cause: bool, *, gone: bool) -> bool:
        """Whether to say it now."""
        self.told = self.told and not gone
        if not cause or self.told:
            return False
        self.told = True
        return True


class Adviser:
    """Hears a run's records one after the other and says what to do about what goes badly.

    `codebook_size`: codes of one codebook. `settings`, where they are known, make the advice name values that are not
    set already.
    """

    def __init__(self, codebook_size: int, settings: TrainSettings | None = None) -> None:
        self.codebook_size = codebook_size
        self.settings = settings
        self._usage = deque[float](maxlen=USAGE_STEPS)
        self._skips = deque[bool](maxlen=SKIP_STEPS)
        self._recent = deque[float](maxlen=PATIENCE)
        self._before = math.inf
        self._rate, self._peak = math.nan, 0.0 if settings is None else settings.learning_rate
        self._poor_usage, self._not_finite, self._shimmer, self._plateau = Latch(), Latch(), Latch(), Latch()

    def hear(self, record: object) -> list[str]:
        """Advice that `record` gives rise to, a line each: a record of a step, a validation or decoded clips, as the
        loop's object or as a line of `metrics.jsonl`. Others are passed over.
        """
        found = entries(record)
        match found.get("kind"):
            case "step":
                lines = [self._hear_skips(found), self._hear_usage(found)]
            case "validation":
                lines = [self._hear_flow(found)]
            case "clips":
                lines = [self._hear_shimmer(found)]
            case _:
                lines = []
        return [line for line in lines if line]

    def _hear_skips(self, step: Mapping[str, Any]) -> str:
        skipped = bool(step.get("skipped"))
        self._skips.append(skipped)
        if not math.isnan(rate := number(step.get("learning_rate"))):
            self._rate, self._peak = rate, max(self._peak, rate)
        count = sum(self._skips)
        cause = skipped and (math.isnan(number(step.get("loss"))) or count >= SKIPS)
        if not self._not_finite.opens(cause, gone=count == 0):
            return ""
        clip = 0.25 if self.settings is None else min(0.25, self.settings.grad_clip / 2)
        half = self.settings is None or self.settings.precision != "float32"
        return (
            f"NaN or infinity in loss or gradients: {count} of the last {len(self._skips)} steps skipped by step "
            f"{step.get('step')}; if it goes on, try {self._half_rate()}, --grad-clip {clip:g}"
            + (" or --no-amp" if half else "")
        )

    def _hear_usage(self, step: Mapping[str, Any]) -> str:
        usage = mean(step.get("usage"))
        frames = number(step.get("audio_seconds")) * FRAME_RATE
        if step.get("skipped") or math.isnan(usage) or not min(frames, self.codebook_size) >= ROOM_FOR_USAGE:
            return ""
        self._usage.append(usage)
        average = sum(self._usage) / len(self._usage)
        cause = len(self._usage) == USAGE_STEPS and average < POOR_USAGE
        if not self._poor_usage.opens(cause, gone=average >= CURED * POOR_USAGE):
            return ""
        weight = 0.5 if self.settings is None else max(0.5, 2 * self.settings.commitment_weight)
        linear = self.settings is None or self.settings.projection_type != "conv1d"
        return (
            f"poor codebook usage: {average:.0f} codes of each codebook in a batch over the last {USAGE_STEPS} steps "
            f"(below {POOR_USAGE:.0f}); try --commitment-weight {weight:g}"
            + (" or --projection-type conv1d" if linear else "")
        )

    def _hear_shimmer(self, clips: Mapping[str, Any]) -> str:
        metrics = clips.get("metrics")
        shimmer = number(metrics.get("shimmer_db")) if isinstance(metrics, Mapping) else math.nan
        if not self._shimmer.opens(shimmer > SHIMMER_DB, gone=shimmer <= SHIMMER_DB):
            return ""
        weight = 1.0 if self.settings is None else max(1.0, 2 * self.settings.highfreq_weight)
        listens = self.settings is not None and self.settings.listens
        acts = "" if listens else " (they act in the objectives that listen: --objective bypass or ode)"
        compare = "--deshimmer writes clips to compare with"
        if clips.get("deshimmered"):
            compare = "compare with the clips named _deshimmered"
        return (
            f"shimmer: decoded clips have {shimmer:.1f} dB more than the originals at 4-8 kHz; try --highfreq-weight "
            f"{weight:g} with --include-phase{acts}; {compare}"
        )

    def _hear_flow(self, validation: Mapping[str, Any]) -> str:
        flow = number(validation.get("flow"))
        if math.isnan(flow):
            return ""
        if len(self._recent) == PATIENCE:
            self._before = min(self._before, self._recent[0])
        self._recent.append(flow)
        stuck = min(self._recent) > self._before * (1 - IMPROVEMENT)
        high = self._rate >= HIGH_RATE * self._peak
        if not self._plateau.opens(stuck and high, gone=not stuck):
            return ""
        width = "a larger --hidden-dim"
        if self.settings is not None:
            width = f"--hidden-dim {2 * self.settings.hidden_dim}"
        return (
            f"plateau: the last {PATIENCE} held-out flow losses are no {IMPROVEMENT:.1%} below the best before them "
            f"({self._before:.4f}), though the learning rate is still {self._rate:.2g}; stop here, or try more songs, "
            f"{width} or {self._half_rate()}"
        )

    def _half_rate(self) -> str:
        return f"--lr {self._peak / 2:g}" if self._peak > 0 else "half the --lr"
