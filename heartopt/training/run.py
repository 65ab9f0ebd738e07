"""One run over prepared songs: steps, validation, checkpoints, until it is done or asked to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from heartopt.codec import HeartCodec
from heartopt.errors import HeartoptError
from heartopt.projection import save_projection
from heartopt.training.advice import Adviser
from heartopt.training.checkpoints import LATEST, save_epoch, save_state
from heartopt.training.clips import Clips, ClipsRecord
from heartopt.training.curves import draw_curves
from heartopt.training.data import SongReady
from heartopt.training.loop import Source, StepRecord, TrainState, train_steps
from heartopt.training.outputs import BEST, BEST_BY_STFT, CURVES, save_best
from heartopt.training.placement import EVERYTHING, Parts, parts_of, placed
from heartopt.training.settings import TrainSettings
from heartopt.training.stopping import ENDINGS, Limits
from heartopt.training.tensorboard import Board
from heartopt.training.validation import HeldOut, ValidationRecord, validate
from heartopt.training.watch import LOGGER, METRICS, Metrics, note_clips, note_step, note_validation

#: Wall seconds between checkpoints, at most: what a crash costs.
SAVE_SECONDS = 300.0

Record = StepRecord | ValidationRecord | ClipsRecord
#: What a caller is told of: songs as they are made ready, then steps, validations and decoded clips.
Progress = Callable[[SongReady | Record], None]


@dataclass(frozen=True)
class Plan:
    """Every how many steps: the held-out flow loss, decoded clips, a checkpoint under its own name (`keep` stay)."""

    validate: int
    clips: int
    checkpoint: int
    keep: int


@dataclass
class Run:
    """All that one run needs. `songs`: a digest of the training songs; `card`: what every saved card says.

    Only the main process judges and writes; `limits` are looked at after every step.
    """

    state: TrainState
    codec: HeartCodec
    settings: TrainSettings
    source: Source
    held_out: HeldOut
    clips: Clips | None
    output_dir: Path
    songs: str
    card: dict[str, Any]
    plan: Plan
    limits: Limits
    progress: Progress | None
    device: torch.device
    history: list[ValidationRecord] = field(default_factory=list)
    clip_history: list[ClipsRecord] = field(default_factory=list)
    _saved: float = field(default_factory=time.monotonic, init=False)
    _undrawn: bool = field(default=False, init=False)

    def fit(self) -> str:
        """Train; returns why it ended: "done", "budget" or "stopped". The state is saved in each case."""
        self._forget_elsewhere()
        if not self.source.world.main:
            return self._follow()
        # A run that was killed before its first checkpoint may have judged its start already: it will again.
        kept = self.state.step if self.state.best_step >= 0 else self.state.step - 1
        self._metrics = Metrics(self.output_dir, step=kept)
        self._adviser = Adviser(self.codec.config.codebook_size, self.settings)
        with Board(self.output_dir, step=self.state.step) as self._board:
            return self._lead()

    def _forget_elsewhere(self) -> None:
        """Forget the best figures whose projections are not in this folder: the run was resumed into another one.

        All processes forget together: those that follow wait for the judging that comes of it.
        """
        world, state = self.source.world, self.state
        if world.any(world.main and not (self.output_dir / BEST).is_file()):
            state.best_flow, state.best_step = math.inf, -1
        if world.any(world.main and not (self.output_dir / BEST_BY_STFT).is_file()):
            state.best_stft, state.best_stft_step = math.inf, -1

    def _follow(self) -> str:
        """The part of a process that neither judges nor writes."""
        if self.state.best_step < 0:
            self.source.world.barrier()
        for _ in train_steps(self.state, codec=self.codec, source=self.source, settings=self.settings):
            if self._due(self.plan.validate):
                self.source.world.barrier()
            if ended := self._ended():
                return ended
        return "done"

    def _lead(self) -> str:
        if self.state.best_step < 0:
            self._judge()
            self._save()
            self.source.world.barrier()
        ended = "done"
        for record in train_steps(self.state, codec=self.codec, source=self.source, settings=self.settings):
            note_step(record, self._metrics)
            self._tell(record)
            if self._due(self.plan.validate):
                self._judge()
            if self._due(self.plan.clips):
                self._listen()
                self._draw()
            if self._due(self.plan.checkpoint):
                self._keep()
            if self._due(self.plan.validate):  # saved last: a run that is killed in between does all of it again
                self._save()
                self.source.world.barrier()
            elif time.monotonic() - self._saved > SAVE_SECONDS:
                self._save()
            if reason := self._ended():
                ended = reason
                self._save()
                break
        LOGGER.info("ended (%s) after step %d of %d", ended, self.state.step, self.settings.steps)
        return ended

    def _due(self, every: int) -> bool:
        """Whether a thing that comes `every` steps, and at the end, is due now."""
        return self.state.step >= self.settings.steps or self.state.step % every == 0

    def _ended(self) -> str:
        """Why all processes are to stop now, though steps are left."""
        if self.state.step >= self.settings.steps:
            return ""
        return self.source.world.agreed(self.limits.reached(), ENDINGS)

    @property
    def _epoch(self) -> float:
        return self.state.step * self.source.global_batch(self.settings) / len(self.source.crops)

    def _judge(self) -> None:
        """The held-out flow loss."""
        own = parts_of(self.settings.objective)
        with placed(self.codec, Parts(estimator=True, waveform=own.waveform), self.device, after=own):
            record = validate(
                self.state.projection,
                self.codec,
                self.held_out,
                step=self.state.step,
                epoch=self._epoch,
                best_flow=self.state.best_flow,
            )
        note_validation(record, self._metrics)
        self.history.append(record)
        if record.best:
            self.state.best_flow, self.state.best_step = record.flow, record.step
            figures = {"flow": record.flow, "commitment": record.commitment, "perplexity": record.perplexity}
            card = {**self.card, "step": record.step, "held_out": {**figures, "usage": record.usage}}
            save_best(self.state.projection, self.output_dir, card, epoch=self._epoch)
        self._tell(record)

    def _listen(self) -> None:
        """Clips through the real decoder."""
        if self.clips is None:
            return
        with placed(self.codec, EVERYTHING, self.device, after=parts_of(self.settings.objective)):
            record = self.clips.judge(
                self.state.projection,
                self.codec,
                step=self.state.step,
                epoch=self._epoch,
                best_stft=self.state.best_stft,
            )
        note_clips(record, self._metrics)
        self.clip_history.append(record)
        if record.best:
            self.state.best_stft, self.state.best_stft_step = record.metrics["stft"], record.step
            card = {**self.card, "step": record.step, "clips": dict(record.metrics)}
            save_projection(self.state.projection, self.output_dir / BEST_BY_STFT, card)
        self._tell(record)

    def _save(self) -> None:
        save_state(self.output_dir / LATEST, self.state, settings=self.settings, codec=self.codec, songs=self.songs)
        self._saved = time.monotonic()

    def _keep(self) -> None:
        """A checkpoint under its epoch's name."""
        save_epoch(
            self.output_dir,
            math.ceil(self._epoch),
            self.plan.keep,
            self.state,
            settings=self.settings,
            codec=self.codec,
            songs=self.songs,
        )

    def _draw(self) -> None:
        """`curves.png`; a missing plotting library is no reason to stop."""
        try:
            draw_curves(self.output_dir / METRICS, self.output_dir / CURVES)
        except HeartoptError as error:
            if not self._undrawn:
                LOGGER.info("no curves.png: %s", error)
            self._undrawn = True

    def _tell(self, event: Record) -> None:
        self._board.write(event)
        for line in self._adviser.hear(event):
            LOGGER.warning("advice: %s", line)
        if self.progress is not None:
            self.progress(event)
