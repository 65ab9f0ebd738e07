"""What one call of `train` asks for, checked; and the run that comes of it once the songs are ready."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from heartopt.audio import SAMPLE_RATE
from heartopt.codec import HeartCodec
from heartopt.errors import AudioError, CheckpointError, ConfigError
from heartopt.projection.report_checkpoint import REPORT_SUFFIXES
from heartopt.training.cache import LatentCache, default_cache, temporary_cache
from heartopt.training.checkpoints import saved_rate
from heartopt.training.clip_songs import MOST_CLIPS
from heartopt.training.clips import Clips
from heartopt.training.crops import CropSequence
from heartopt.training.data import MIN_SECONDS, Encoding, Needs
from heartopt.training.loop import Source, TrainState, take_step
from heartopt.training.lr_finder import find_learning_rate
from heartopt.training.placement import parts_of, place
from heartopt.training.run import Plan, Progress, Run
from heartopt.training.settings import LISTENING, Quantize, Schedule, TrainSettings, check_above_zero
from heartopt.training.split import SongSplit
from heartopt.training.start import STARTS, check_network, initialize, new_state, remove_run, start_state
from heartopt.training.stopping import ENDINGS, Limits, StoppedEarly
from heartopt.training.validation import HeldOut
from heartopt.training.watch import LOGGER
from heartopt.training.world import World
from heartopt.version import __version__

DEFAULT_CACHE_GB = 64.0
#: Seconds of a crop where an objective listens, the report's own.
LISTENING_SECONDS = 5.0
#: Of a crop; more than any song lasts.
MOST_SECONDS = 3600.0
DIFFERENT_CHECKPOINTS = "the processes find different checkpoints; use an --output-dir that all of them share"


@dataclass(frozen=True)
class ClipPlan:
    """Held-out clips that are decoded: how many, with how many Euler steps, and whether also without shimmer."""

    count: int
    decode_steps: int
    deshimmer: bool

    def __post_init__(self) -> None:
        if not 0 <= self.count <= MOST_CLIPS:
            raise ConfigError(f"num_val_samples must be from 0 to {MOST_CLIPS}, got {self.count}")
        check_above_zero("val_detokenize_steps", self.decode_steps)
        if self.deshimmer and not self.count:
            raise ConfigError("deshimmer is given, but num_val_samples is 0: there are no clips to take shimmer from")


@dataclass(frozen=True)
class Request:
    """One call of `train`; see there."""

    settings: TrainSettings
    schedule: Schedule
    checkpoint: Path | None
    output_dir: Path
    distill_tokens: Path | None
    find_lr: bool
    overwrite: bool
    clips: ClipPlan
    command: str | None

    @property
    def needs(self) -> Needs:
        """What the objectives want beside latents."""
        return Needs(audio=self.settings.listens, tokens=self.distill_tokens)

    def check(self, codec: HeartCodec) -> None:
        """Refuse what contradicts itself, before any song is read; warn of what has no effect. Raises ConfigError."""
        settings = self.settings
        if any(tensor.is_inference() for tensor in (*codec.parameters(), *codec.buffers())):
            raise ConfigError(
                "the codec was loaded under torch.inference_mode(), so it has no gradients; load it outside"
            )
        if ("distill" in settings.objective) != (self.distill_tokens is not None):
            raise ConfigError("the objective distill and --distill-tokens need each other: give both or neither")
        if self.distill_tokens is not None and not os.path.isdir(self.distill_tokens):
            raise ConfigError(f"distill_tokens: {self.distill_tokens} is no folder of tokens")
        if self.find_lr and self.checkpoint is not None and self.checkpoint.suffix in REPORT_SUFFIXES:
            raise ConfigError(f"find_lr is given, and {self.checkpoint} says no learning rate: give one with --lr")
        if settings.init not in STARTS and not os.path.isfile(settings.init):
            raise ConfigError(f'init must be "codebook", "random" or the file of a projection, got "{settings.init}"')
        self.encoding(codec)
        check_network(settings, codec)
        for name, where in self._idle():
            LOGGER.warning("%s has no effect with these settings; it acts in %s", name, where)

    def _idle(self) -> Iterator[tuple[str, str]]:
        """Settings that are not at their defaults and do nothing, each with where it would act."""
        settings, quantize = self.settings, self.settings.quantize
        if not settings.listens:
            for name in ("include_phase", "highfreq_weight", "mel_weight"):
                if getattr(settings, name) != getattr(TrainSettings, name):
                    yield name, f"the objectives {' and '.join(LISTENING)}"
        if "ode" not in settings.objective and settings.ode_steps != TrainSettings.ode_steps:
            yield "ode_steps", "the objective ode"
        if quantize.kind != "gumbel":
            for name in ("top_k", "temperature", "entropy_weight", "revival"):
                if getattr(quantize, name) != getattr(Quantize, name):
                    yield name, "the quantizer gumbel"

    def encoding(self, codec: HeartCodec) -> Encoding:
        """What the projection reads. Raises ConfigError."""
        settings, width = self.settings, codec.config.latent_hidden_dim
        limit = settings.max_seconds_per_song
        if settings.latent_dim not in (width, 2 * width):
            raise ConfigError(
                f"latent_dim is {settings.latent_dim}; this codec has {width} (mean of channels) or "
                f"{2 * width} (left | right)"
            )
        if limit is not None and not MIN_SECONDS <= limit < math.inf:
            raise ConfigError(f"max_seconds_per_song must be a number, at least {MIN_SECONDS:g}; got {limit}")
        return Encoding(mono=settings.latent_dim == width, max_seconds=limit, pre_tanh=settings.latents == "pre_tanh")


def crop_frames(seconds: float | None, objective: Mapping[str, float], codec: HeartCodec) -> int:
    """Latent frames of a crop of `seconds`, or of the objective's own length: two a code frame. Raises ConfigError."""
    if seconds is None:
        seconds = LISTENING_SECONDS if any(name in LISTENING for name in objective) else codec.default_duration
    check_above_zero("max_duration", seconds)
    if seconds > MOST_SECONDS:
        raise ConfigError(f"max_duration must be at most {MOST_SECONDS:g} seconds, got {seconds:g}")
    return 2 * round(seconds * SAMPLE_RATE / codec.samples_per_code)


@contextmanager
def open_cache(folder: Path | None, fingerprint: str, *, gigabytes: float | None, keep: bool) -> Iterator[LatentCache]:
    """The latents' cache, or one that is gone after the run. Raises ConfigError."""
    if gigabytes is not None:
        check_above_zero("cache_size", gigabytes)
    if not keep:
        if folder is not None:
            raise ConfigError("cache_dir and no-cache are both given: give one of the two")
        with temporary_cache(fingerprint) as cache:
            yield cache
        return
    most = None if gigabytes is None else round(min(gigabytes, 1e9) * 1e9)
    yield LatentCache(folder or default_cache(), fingerprint, max_bytes=most)


@contextmanager
def checkpointing(codec: HeartCodec, wanted: bool) -> Iterator[None]:
    """Gradient checkpointing of the flow transformer while the block runs."""
    estimator = codec.flow_matching.estimator
    before = estimator.gradient_checkpointing
    estimator.gradient_checkpointing = before or wanted
    try:
        yield
    finally:
        estimator.gradient_checkpointing = before


def begin(
    request: Request,
    songs: SongSplit,
    codec: HeartCodec,
    *,
    world: World,
    device: torch.device,
    workers: int,
    limits: Limits,
    progress: Progress | None,
) -> Run:
    """The run over `songs`, at its start or where its checkpoint left off.

    Raises:
        StoppedEarly: `limits` are reached while the learning rate is looked for.
        CheckpointError: its checkpoint, or the projection that it starts from, does not fit, or the processes differ in
            it.
        AudioError: the processes do not have the same songs.
    """
    schedule, asked = request.schedule, request.settings
    if not world.same(songs.digest):  # they would not take the same number of steps, and wait for each other for ever
        raise AudioError("the processes do not have the same songs; give all of them the same --data-dir and --val-dir")
    source = Source(CropSequence(songs.training, frames=asked.frames, seed=asked.seed), world, workers)
    items, batch = len(source.crops), source.global_batch(asked)
    steps = schedule.steps_for(items, batch)
    settings = replace(asked, steps=steps, warmup_steps=min(asked.warmup_steps, steps // 10))
    place(codec, parts_of(settings.objective), device)
    if request.find_lr:
        resumed = request.checkpoint
        if not world.same(str(resumed is None)):
            raise CheckpointError(DIFFERENT_CHECKPOINTS)
        rate = saved_rate(resumed) if resumed else _find_rate(settings, codec, source, device, limits)
        settings = replace(settings, learning_rate=rate)
    state = start_state(settings, codec, source, request.checkpoint, songs.digest, device)
    if not world.same(str(state.step)):
        raise CheckpointError(DIFFERENT_CHECKPOINTS)
    _judge_anew(state, request, songs)
    world.copy_from_main(state.model)
    if request.overwrite and world.main:
        remove_run(request.output_dir)
    mono = codec.config.latent_hidden_dim
    if settings.projection_type != "query" and (settings.latent_dim, settings.latents) != (mono, "pre_tanh"):
        LOGGER.info(
            "best_projection.pt: the training report's scripts read mono latents before the tanh; for a projection "
            "that they can use, train with --latent-dim %d --latents pre-tanh",
            mono,
        )
    # The flow loss needs latents alone: what a listening objective wants besides would fill memory.
    judged = [replace(song, audio=None, tokens=None) for song in songs.held_out] if world.main else []
    held_out = HeldOut(judged, frames=asked.frames, count=schedule.val_crops, batch_size=asked.batch_size)
    return Run(
        state=state,
        codec=codec,
        settings=settings,
        source=source,
        held_out=held_out,
        clips=_clips(request, songs, codec) if world.main else None,
        output_dir=request.output_dir,
        songs=songs.digest,
        card=_card(codec, settings, request.command, songs, world),
        plan=Plan(
            validate=schedule.steps_of(1, items, batch),
            clips=schedule.steps_of(schedule.val_interval, items, batch),
            checkpoint=schedule.steps_of(schedule.save_interval, items, batch),
            keep=schedule.keep,
        ),
        limits=limits,
        progress=progress,
        device=device,
    )


def _judge_anew(state: TrainState, request: Request, songs: SongSplit) -> None:
    """Forget the best figures of a resumed run that were measured on something else than this one will be."""
    held_out = sorted(song.digest for song in songs.held_out)
    clips = request.clips
    judges = {
        "flow": _digest(held_out, request.schedule.val_crops, request.settings.frames),
        "stft": _digest(held_out, clips.count, clips.decode_steps),
    }
    changed = [name for name, judge in judges.items() if state.judges.get(name, judge) != judge]
    if "flow" in changed:
        state.best_flow, state.best_step = math.inf, -1
    if "stft" in changed:
        state.best_stft, state.best_stft_step = math.inf, -1
    if changed:
        names = " and ".join(changed)
        LOGGER.warning("the best %s so far was measured on other held-out songs or crops: it is forgotten", names)
    state.judges = judges


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _clips(request: Request, songs: SongSplit, codec: HeartCodec) -> Clips | None:
    plan = request.clips
    if not plan.count:
        return None
    return Clips(
        songs.held_out,
        codec=codec,
        count=plan.count,
        folder=request.output_dir / "validation",
        decode_steps=plan.decode_steps,
        deshimmer=plan.deshimmer,
    )


def _find_rate(
    settings: TrainSettings, codec: HeartCodec, source: Source, device: torch.device, limits: Limits
) -> float:
    """The range test on a throw-away copy of the run's start. Raises StoppedEarly."""
    state: TrainState = new_state(settings, codec, device)
    initialize(state.projection, settings, codec, source)

    def step(rate: float) -> float:
        if ended := source.world.agreed(limits.reached(), ENDINGS):
            raise StoppedEarly(ended, "ended while the learning rate was looked for; nothing is saved: run it again")
        parts = source.read(state.step, settings)
        return take_step(state, parts, codec=codec, settings=settings, world=source.world, rate=rate).loss

    found = find_learning_rate(step)
    LOGGER.info("learning rate %.2e, from a range test of %d steps", found.suggestion, len(found.rates))
    return found.suggestion


def _card(
    codec: HeartCodec, settings: TrainSettings, command: str | None, songs: SongSplit, world: World
) -> dict[str, Any]:
    """What the card of every projection of this run says; its figures come with it."""
    return {
        "codec": codec.name,
        "fingerprint": codec.fingerprint(),
        "heartopt": __version__,
        "command": command,
        "settings": settings.as_dict(),
        "processes": world.size,
        "training": {
            "songs": len(songs.training),
            "hours": round(songs.seconds / 3600, 3),
            "digest": songs.digest,
        },
        "validation": {"songs": [song.name for song in songs.held_out], "note": songs.note},
    }
