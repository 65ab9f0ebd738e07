"""One run over prepared songs: steps, validation, checkpoints, until it is done or asked to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heartopt.codec import HeartCodec
from heartopt.projection import save_projection
from heartopt.training.checkpoints import LATEST, save_state
from heartopt.training.crops import CropSequence
from heartopt.training.data import SongReady
from heartopt.training.loop import StepRecord, TrainState, train_steps
from heartopt.training.settings import TrainSettings
from heartopt.training.stopping import Limits
from heartopt.training.validation import HeldOut, ValidationRecord, validate
from heartopt.training.watch import LOGGER, Metrics, note_step, note_validation

BEST = "best_projection.safetensors"

#: What a caller is told of: songs as they are made ready, then steps and validations.
Progress = Callable[[SongReady | StepRecord | ValidationRecord], None]


@dataclass
class Run:
    """All that one run needs. `songs`: a digest of the training songs; `card`: what every saved card says.

    `val_every` and `save_every` are steps; `limits` are looked at after every step.
    """

    state: TrainState
    codec: HeartCodec
    settings: TrainSettings
    crops: CropSequence
    held_out: HeldOut
    output_dir: Path
    songs: str
    card: dict[str, Any]
    val_every: int
    save_every: int
    limits: Limits
    progress: Progress | None
    history: list[ValidationRecord] = field(default_factory=list)

    def fit(self) -> str:
        """Train; returns why it ended: "done", "budget" or "stopped". The state is saved in each case."""
        metrics = Metrics(self.output_dir, step=self.state.step)
        if not (self.output_dir / BEST).is_file():  # resumed into another folder: its best is not here
            self.state.best_flow, self.state.best_step = math.inf, -1
        if self.state.best_step < 0:
            self._validate(metrics)
            self._save()
        ended = "done"
        for record in train_steps(self.state, codec=self.codec, crops=self.crops, settings=self.settings):
            note_step(record, metrics)
            self._tell(record)
            last = self.state.step >= self.settings.steps
            if last or self.state.step % self.val_every == 0:
                self._validate(metrics)
                self._save()
            elif self.state.step % self.save_every == 0:
                self._save()
            if not last and (reason := self.limits.reached()):
                ended = reason
                self._save()
                break
        LOGGER.info("ended (%s) after step %d of %d", ended, self.state.step, self.settings.steps)
        return ended

    def _validate(self, metrics: Metrics) -> None:
        record = validate(
            self.state.projection,
            self.codec,
            self.held_out,
            step=self.state.step,
            best_flow=self.state.best_flow,
        )
        note_validation(record, metrics)
        self.history.append(record)
        if record.best:
            self.state.best_flow, self.state.best_step = record.flow, record.step
            figures = {"flow": record.flow, "commitment": record.commitment, "perplexity": record.perplexity}
            card = {**self.card, "step": record.step, "held_out": {**figures, "usage": record.usage}}
            save_projection(self.state.projection, self.output_dir / BEST, card)
        self._tell(record)

    def _save(self) -> None:
        save_state(self.output_dir / LATEST, self.state, settings=self.settings, codec=self.codec, songs=self.songs)

    def _tell(self, event: StepRecord | ValidationRecord) -> None:
        if self.progress is not None:
            self.progress(event)
