"""`train`: from a folder of songs to an encoder projection."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from heartopt.audio import SAMPLE_RATE
from heartopt.codec import HeartCodec
from heartopt.errors import CheckpointError, ConfigError
from heartopt.projection import EncoderProjection
from heartopt.projection.network import ProjectionType
from heartopt.seeding import keyed_generator
from heartopt.training.cache import LatentCache, default_cache
from heartopt.training.checkpoints import LATEST, restore_state
from heartopt.training.crops import CropSequence
from heartopt.training.data import MIN_SECONDS, Encoding, Skipped
from heartopt.training.initialize import start_at_codebooks
from heartopt.training.loop import TrainState, make_optimizer
from heartopt.training.run import BEST, Progress, Run
from heartopt.training.settings import TrainSettings
from heartopt.training.split import SongSplit, split_songs
from heartopt.training.validation import HeldOut, ValidationRecord
from heartopt.training.watch import LOGGER, log_file, write_skipped
from heartopt.version import __version__

DEFAULT_EPOCHS = 100
#: Batches of crops that the codebook start looks at.
START_BATCHES = 4


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: `ended` is "done", "budget" or "stopped" (go on with `resume="auto"`).

    `projection`: the best by held-out flow loss (`best_flow`, after `best_step`); `validations`: this call's.
    """

    ended: str
    step: int
    steps: int
    projection: Path
    best_flow: float
    best_step: int
    validations: tuple[ValidationRecord, ...]
    skipped_files: tuple[Skipped, ...]
    skipped_steps: int
    songs: int
    hours: float
    encoded_seconds: float
    seconds: float


def train(
    *,
    data_dir: Path,
    output_dir: Path,
    codec: HeartCodec,
    val_dir: Path | None = None,
    projection_type: str = "conv1d",
    hidden_dim: int = 256,
    latent_dim: int | None = None,
    batch_size: int = 8,
    max_duration: float = 29.76,
    steps: int | None = None,
    epochs: int | None = None,
    lr: float = 1e-3,
    warmup_steps: int = 100,
    grad_clip: float = 0.5,
    weight_decay: float = 0.01,
    commitment_weight: float = 0.25,
    init: str = "codebook",
    seed: int = 0,
    val_interval: float = 1.0,
    val_samples: int = 16,
    save_interval: int = 100,
    resume: str | Path | None = None,
    overwrite: bool = False,
    max_seconds_per_song: float | None = None,
    cache_dir: Path | None = None,
    budget: float | None = None,
    device: str | torch.device | None = None,
    command: str | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Train one projection with the codec's own flow-matching loss, on latents that are cached.

    Args:
        data_dir: a folder of songs (recursive), or a list of them (`.txt`, `.tsv`; see `find_songs`).
        output_dir: gets `latest.safetensors` (+ `.json`), `best_projection.safetensors` (+ `.json`),
            `metrics.jsonl`, `training.log`, `skipped.tsv`.
        codec: the frozen codec.
        val_dir: held-out songs, as `data_dir`. Without it a tenth of the songs (1 to 8) is held out; a single
            song is trained and judged on.
        projection_type, hidden_dim: the projection's architecture: "linear", "conv1d" or "query".
        latent_dim: 256 (default) reads left | right, 128 the mean of the channels (sizes of the release's
            codec).
        batch_size: crops a step.
        max_duration: seconds of a crop; rounded to a whole number of code frames (0.08 s).
        steps, epochs: length of the run, one of the two; 100 epochs by default.
        lr, warmup_steps: peak learning rate; reached linearly, then a cosine to zero at the end of the run.
        grad_clip, weight_decay, commitment_weight: gradient norm bound, AdamW's decay, weight of the
            commitment term.
        init: "codebook" starts at the codebooks' mean and scale (`start_at_codebooks`), "random" does not.
        seed: of weights, order, crops, times, noise and context.
        val_interval: epochs between validations (a fraction is fine); the start and the end are always
            judged.
        val_samples: held-out crops.
        save_interval: steps between checkpoints; each validation saves too.
        resume: "auto" goes on from `output_dir` if there is a checkpoint; a path goes on from that file.
        overwrite: start anew in an `output_dir` that holds a run (else that is an error).
        max_seconds_per_song: use only so much of each song, from its middle.
        cache_dir: default `$HEARTOPT_CACHE`, else `~/.cache/heartopt`.
        budget: seconds after which the run saves and stops.
        device: where to train; the codec is moved there.
        command: what the card says this run was started with.
        progress: told of each song, step and validation.
        stop: asked after each step; True saves and stops.

    Raises:
        ConfigError: contradicting settings.
        AudioError: no usable song.
        CheckpointError: `resume` does not fit.
        OutputError: a file cannot be written.
        TrainingError: too many steps in a row without a finite loss.
    """
    began = time.monotonic()
    if budget is not None and not budget > 0:
        raise ConfigError(f"budget is {budget:g}: give seconds above 0")
    checkpoint = _checkpoint(output_dir, resume, overwrite)
    length = _Length(steps=steps, epochs=epochs, val_interval=val_interval, save_interval=save_interval)
    settings = TrainSettings(
        projection_type=projection_type,
        hidden_dim=hidden_dim,
        latent_dim=2 * codec.config.latent_hidden_dim if latent_dim is None else latent_dim,
        batch_size=batch_size,
        frames=2 * round(max_duration * SAMPLE_RATE / codec.samples_per_code),
        steps=steps or 1,  # where epochs are given: known once the songs are
        learning_rate=lr,
        warmup_steps=warmup_steps,
        grad_clip=grad_clip,
        weight_decay=weight_decay,
        commitment_weight=commitment_weight,
        init=init,
        seed=seed,
        max_seconds_per_song=max_seconds_per_song,
    )
    encoding = _encoding(settings, codec)
    if device is not None:
        codec.to(torch.device(device))  # type: ignore[arg-type]
    with log_file(output_dir):
        cache = LatentCache(cache_dir or default_cache(), codec.fingerprint())
        songs = split_songs(data_dir, val_dir, codec=codec, cache=cache, encoding=encoding, progress=progress)
        write_skipped(output_dir, songs.skipped)
        crops = CropSequence(songs.training, frames=settings.frames, seed=seed)
        settings = replace(settings, steps=length.steps_for(len(crops), batch_size))
        state = _start(settings, codec, crops, checkpoint, songs)
        run = Run(
            state=state,
            codec=codec,
            settings=settings,
            crops=crops,
            held_out=HeldOut(songs.held_out, frames=settings.frames, count=val_samples, batch_size=batch_size),
            output_dir=output_dir,
            songs=songs.digest,
            card=_card(codec, settings, command, songs),
            val_every=max(1, round(val_interval * len(crops) / batch_size)),
            save_every=save_interval,
            deadline=None if budget is None else began + budget,
            stop=stop,
            progress=progress,
        )
        ended = run.fit()
    return TrainResult(
        ended=ended,
        step=state.step,
        steps=settings.steps,
        projection=output_dir / BEST,
        best_flow=state.best_flow,
        best_step=state.best_step,
        validations=tuple(run.history),
        skipped_files=songs.skipped,
        skipped_steps=state.skipped,
        songs=len(songs.training),
        hours=songs.seconds / 3600,
        encoded_seconds=songs.encoded_seconds,
        seconds=time.monotonic() - began,
    )


@dataclass(frozen=True)
class _Length:
    """How long to train and how often to look, as asked for."""

    steps: int | None
    epochs: int | None
    val_interval: float
    save_interval: int

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise ConfigError("steps and epochs are both given: give one of the two")
        for name in ("steps", "epochs", "val_interval", "save_interval"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, got {value}")

    def steps_for(self, items: int, batch_size: int) -> int:
        """Steps of the run, where an epoch has `items` crops."""
        if self.steps is not None:
            return self.steps
        return math.ceil((DEFAULT_EPOCHS if self.epochs is None else self.epochs) * items / batch_size)


def _checkpoint(output_dir: Path, resume: str | Path | None, overwrite: bool) -> Path | None:
    """The state to go on from, if any."""
    latest = output_dir / LATEST
    if resume is not None and overwrite:
        raise ConfigError("resume and overwrite are both given: give one of the two")
    if resume is not None and str(resume) != "auto":
        path = Path(resume)
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file to resume from")
        return path
    if not latest.is_file():
        return None
    if resume is None and not overwrite:
        raise ConfigError(
            f"{output_dir} holds a training run: go on with --resume auto, start anew with --overwrite, "
            "or choose another folder"
        )
    return None if overwrite else latest


def _encoding(settings: TrainSettings, codec: HeartCodec) -> Encoding:
    width, asked, limit = codec.config.latent_hidden_dim, settings.latent_dim, settings.max_seconds_per_song
    if asked not in (width, 2 * width):
        raise ConfigError(
            f"latent_dim is {asked}; this codec has {width} (mean of channels) or {2 * width} (left | right)"
        )
    if limit is not None and not limit >= MIN_SECONDS:
        raise ConfigError(f"max_seconds_per_song must be at least {MIN_SECONDS:g}, got {limit}")
    return Encoding(mono=asked == width, pre_tanh=False, max_seconds=limit)


def _start(
    settings: TrainSettings, codec: HeartCodec, crops: CropSequence, checkpoint: Path | None, songs: SongSplit
) -> TrainState:
    """A new state, or that of `checkpoint`."""
    device = codec.flow_matching.codebooks.device
    # The weights follow from the seed alone, and the caller's random state stays as it is.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_generator(settings.seed, "weights").initial_seed())
        projection = EncoderProjection(
            settings.latent_dim,
            codec.config.dim,
            settings.hidden_dim,
            projection_type=cast(ProjectionType, settings.projection_type),
        )
    projection.to(device)
    state = TrainState(projection, make_optimizer(projection, settings))
    if checkpoint is not None:
        for change in restore_state(checkpoint, state, settings=settings, codec=codec, songs=songs.digest):
            LOGGER.warning("resumed, but %s", change)
        LOGGER.info("resumed from %s after step %d", checkpoint, state.step)
    elif settings.init == "codebook":
        looked_at = (crops.batch(step, settings.batch_size).to(device) for step in range(START_BATCHES))
        start_at_codebooks(projection, codec, looked_at)
    return state


def _card(codec: HeartCodec, settings: TrainSettings, command: str | None, songs: SongSplit) -> dict[str, Any]:
    """What the card of every projection of this run says; its figures come with it."""
    return {
        "codec": codec.name,
        "fingerprint": codec.fingerprint(),
        "heartopt": __version__,
        "objective": "flow",
        "command": command,
        "settings": settings.as_dict(),
        "training": {
            "songs": len(songs.training),
            "hours": round(songs.seconds / 3600, 3),
            "digest": songs.digest,
        },
        "validation": {"songs": [song.name for song in songs.held_out], "note": songs.note},
    }
