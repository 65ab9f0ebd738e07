"""`train`: from a folder of songs to an encoder projection."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from heartopt.audio import SAMPLE_RATE
from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError
from heartopt.training.cache import LatentCache, default_cache
from heartopt.training.crops import CropSequence
from heartopt.training.data import MIN_SECONDS, Encoding, Skipped
from heartopt.training.run import BEST, Progress, Run
from heartopt.training.settings import Schedule, TrainSettings, check_above_zero
from heartopt.training.split import SongSplit, split_songs
from heartopt.training.start import find_checkpoint, remove_run, start_state
from heartopt.training.stopping import Limits
from heartopt.training.validation import HeldOut, ValidationRecord
from heartopt.training.watch import log_file, write_skipped
from heartopt.version import __version__


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


@torch.inference_mode(False)
@torch.enable_grad()
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
    max_duration: float | None = None,
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

    Gradients are switched on for the run, also where the caller has them off.

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
        max_duration: seconds of a crop, rounded to a whole number of code frames (0.08 s); default: the codec's
            own window (`default_duration`).
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
        overwrite: start anew in an `output_dir` that holds a run (else that is an error), which is deleted once
            the songs are ready.
        max_seconds_per_song: use only so much of each song, from its middle.
        cache_dir: default `$HEARTOPT_CACHE`, else `~/.cache/heartopt`.
        budget: seconds after which the run saves and stops; looked at as `stop` is.
        device: where to train; the codec is moved there.
        command: what the card says this run was started with.
        progress: told of each song, step and validation.
        stop: asked after each song and each step; True saves and stops.

    Raises:
        ConfigError: contradicting settings; a codec that gradients cannot pass.
        StoppedEarly: `budget` or `stop` ended the run while songs were read; what is encoded stays in the cache.
        AudioError: no usable song.
        CheckpointError: `resume` does not fit.
        OutputError: a file cannot be written.
        TrainingError: too many steps in a row without a finite loss.
    """
    began = time.monotonic()
    checkpoint = find_checkpoint(output_dir, resume, overwrite)
    schedule = Schedule(steps, epochs, val_interval, val_samples, save_interval, budget)
    limits = Limits(None if budget is None else began + budget, stop)
    settings = TrainSettings(
        projection_type=projection_type,
        hidden_dim=hidden_dim,
        latent_dim=2 * codec.config.latent_hidden_dim if latent_dim is None else latent_dim,
        batch_size=batch_size,
        frames=_crop_frames(codec.default_duration if max_duration is None else max_duration, codec),
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
    _check_gradients(codec)
    if device is not None:
        codec.to(torch.device(device))  # type: ignore[arg-type]
    with log_file(output_dir):
        cache = LatentCache(cache_dir or default_cache(), codec.fingerprint())
        songs = split_songs(
            data_dir, val_dir, codec=codec, cache=cache, encoding=encoding, progress=progress, limits=limits
        )
        write_skipped(output_dir, songs.skipped)
        crops = CropSequence(songs.training, frames=settings.frames, seed=seed)
        settings = replace(settings, steps=schedule.steps_for(len(crops), batch_size))
        state = start_state(settings, codec, crops, checkpoint, songs.digest)
        if overwrite:
            remove_run(output_dir)
        run = Run(
            state=state,
            codec=codec,
            settings=settings,
            crops=crops,
            held_out=HeldOut(songs.held_out, frames=settings.frames, count=val_samples, batch_size=batch_size),
            output_dir=output_dir,
            songs=songs.digest,
            card=_card(codec, settings, command, songs),
            val_every=schedule.steps_between_validations(len(crops), batch_size),
            save_every=save_interval,
            limits=limits,
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


def _crop_frames(seconds: float, codec: HeartCodec) -> int:
    """Latent frames of a crop of `seconds`: two a code frame."""
    check_above_zero("max_duration", seconds)
    return 2 * round(seconds * SAMPLE_RATE / codec.samples_per_code)


def _check_gradients(codec: HeartCodec) -> None:
    if any(tensor.is_inference() for tensor in (*codec.parameters(), *codec.buffers())):
        raise ConfigError("the codec was loaded under torch.inference_mode(), so it has no gradients; load it outside")


def _encoding(settings: TrainSettings, codec: HeartCodec) -> Encoding:
    width, asked, limit = codec.config.latent_hidden_dim, settings.latent_dim, settings.max_seconds_per_song
    if asked not in (width, 2 * width):
        raise ConfigError(
            f"latent_dim is {asked}; this codec has {width} (mean of channels) or {2 * width} (left | right)"
        )
    if limit is not None and not MIN_SECONDS <= limit < math.inf:
        raise ConfigError(f"max_seconds_per_song must be a number, at least {MIN_SECONDS:g}; got {limit}")
    return Encoding(mono=asked == width, max_seconds=limit)


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
