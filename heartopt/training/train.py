"""`train`: from a folder of songs to an encoder projection."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from heartopt.codec import HeartCodec
from heartopt.training.clips import ClipsRecord
from heartopt.training.data import Skipped
from heartopt.training.outputs import BEST
from heartopt.training.placement import Parts, place, put_back
from heartopt.training.request import DEFAULT_CACHE_GB, ClipPlan, Request, begin, checkpointing, crop_frames, open_cache
from heartopt.training.run import Progress, Run
from heartopt.training.settings import Quantize, Schedule, TrainSettings, parse_objective
from heartopt.training.split import SongSplit, split_songs
from heartopt.training.start import find_checkpoint
from heartopt.training.stopping import Limits
from heartopt.training.validation import ValidationRecord
from heartopt.training.watch import log_file, write_skipped
from heartopt.training.world import join_world


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: `ended` is "done", "budget" or "stopped" (go on with `resume="auto"`).

    `projection`: the best by held-out flow loss (`best_flow`, after `best_step`); `best_stft`: the lowest of the
    decoded clips, after `best_stft_step` (infinite where none were decoded); `validations` and `clips`: this call's.
    `main`: False in the processes of a launcher that neither judge nor write.
    """

    ended: str
    step: int
    steps: int
    projection: Path
    best_flow: float
    best_step: int
    best_stft: float
    best_stft_step: int
    validations: tuple[ValidationRecord, ...]
    clips: tuple[ClipsRecord, ...]
    skipped_files: tuple[Skipped, ...]
    skipped_steps: int
    songs: int
    hours: float
    encoded_seconds: float
    encoding_wall: float
    seconds: float
    main: bool


@torch.inference_mode(False)
@torch.enable_grad()
def train(
    *,
    data_dir: Path,
    output_dir: Path,
    codec: HeartCodec,
    val_dir: Path | None = None,
    objective: str = "flow",
    projection_type: str = "conv1d",
    hidden_dim: int = 256,
    latent_dim: int | None = None,
    latents: str = "tanh",
    init: str | Path = "codebook",
    quantizer: str = "straight-through",
    dither: float = 0.0,
    top_k: int = 64,
    temperature: tuple[float, float] = (1.0, 0.1),
    entropy_weight: float = 0.1,
    revival: float = 0.1,
    distill_tokens: Path | None = None,
    ode_steps: int = 4,
    batch_size: int = 8,
    accumulate: int = 1,
    max_duration: float | None = None,
    max_seconds_per_song: float | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    lr: float = 1e-3,
    find_lr: bool = False,
    warmup_steps: int = 2000,
    grad_clip: float = 0.5,
    weight_decay: float = 0.01,
    commitment_weight: float = 0.25,
    mel_weight: float = 0.5,
    l2_weight: float = 0.001,
    include_phase: bool = False,
    highfreq_weight: float = 0.0,
    precision: str | None = None,
    gradient_checkpointing: bool = False,
    val_interval: float = 5.0,
    val_crops: int = 16,
    num_val_samples: int = 5,
    val_detokenize_steps: int = 20,
    deshimmer: bool = False,
    save_interval: float = 10.0,
    keep: int = 3,
    resume: str | Path | None = None,
    overwrite: bool = False,
    cache_dir: Path | None = None,
    cache_size: float | None = DEFAULT_CACHE_GB,
    use_cache: bool = True,
    num_workers: int = 4,
    budget: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    command: str | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Train one projection against the frozen codec, on latents that are cached.

    Gradients are switched on for the run, also where the caller has them off. Processes that `accelerate launch` or
    `torchrun` started together train together: `batch_size` is that of each.

    Args:
        data_dir: a folder of songs (recursive), or a list of them (`.txt`, `.tsv`; see `find_songs`).
        output_dir: gets `latest.safetensors`, `best_projection.safetensors` (by held-out flow loss),
            `best_projection_stft.safetensors` (by decoded clips) and `checkpoint_epochNNNN.safetensors`, each with a
            `.json`; `best_projection.pt` for the training report's scripts; `validation/`, `metrics.jsonl`,
            `training.log`, `curves.png`, `tensorboard/`, `skipped.tsv`.
        codec: the frozen codec.
        val_dir: held-out songs, as `data_dir`. Without it a tenth of the songs (1 to 8) is held out; a single
            song is trained and judged on.
        objective: "flow", "bypass", "ode", "distill", or a weighted mixture: "flow=1,distill=0.3".
        projection_type, hidden_dim: the projection's architecture: "linear", "conv1d" or "query".
        latent_dim: 256 (default) reads left | right, 128 the mean of the channels (sizes of the release's
            codec).
        latents: what it reads: "tanh" as the codec gives them, or "pre_tanh" as the report's scripts have it.
        init: "codebook" starts at the codebooks' mean and scale (`start_at_codebooks`), "random" does not; or the
            path of a projection to start from, heartopt's or the report's.
        quantizer, dither, top_k, temperature, entropy_weight, revival: see `Quantize`.
        distill_tokens: folder of `NAME.tokens.npy`, laid out as the songs: the teacher of "distill".
        ode_steps: Euler steps of "ode".
        batch_size, accumulate: crops a batch; batches an optimizer step.
        max_duration: seconds of a crop, rounded to a whole number of code frames (0.08 s); default: 5 for the
            objectives that listen ("bypass", "ode"), else the codec's own window (`default_duration`).
        max_seconds_per_song: use only so much of each song, from its middle.
        steps, epochs: length of the run, one of the two; 100 epochs by default.
        lr, warmup_steps: peak learning rate; reached linearly (in at most a tenth of the run), then a cosine to
            zero at the end of the run.
        find_lr: look for the peak learning rate first (`find_learning_rate`), in place of `lr`; a resumed run keeps
            the one that was found.
        grad_clip, weight_decay: gradient norm bound, AdamW's decay.
        commitment_weight, mel_weight, l2_weight: of these terms; the report's by default.
        include_phase, highfreq_weight: the report's phase term, and extra weight on 4-8 kHz, for the objectives that
            listen.
        precision: "float32", "bfloat16" or "float16" arithmetic; default: bfloat16 on a GPU, else float32.
        gradient_checkpointing: compute the flow transformer twice and keep less of it.
        val_interval: epochs between decoded clips (a fraction is fine); the end is always judged. The held-out flow
            loss is taken every epoch.
        val_crops: held-out crops for the flow loss.
        num_val_samples: held-out clips that are decoded, at most 8; 0 is none.
        val_detokenize_steps: Euler steps of that decoding.
        deshimmer: write and measure each clip without its shimmer, too.
        save_interval, keep: epochs between checkpoints under their own names, and how many of them stay. The latest
            state is saved every epoch and every few minutes besides.
        resume: "auto" goes on from `output_dir` if there is a checkpoint; a path goes on from that file.
        overwrite: start anew in an `output_dir` that holds a run (else that is an error), which is deleted once
            the songs are ready.
        cache_dir, cache_size, use_cache: latents are kept there (default `$HEARTOPT_CACHE`, else
            `~/.cache/heartopt`), at most so many GB; or only for this run.
        num_workers: threads that read ahead.
        budget: seconds after which the run saves and stops; looked at as `stop` is.
        seed: of weights, order, crops, times, noise and context.
        device: where to train; what the objective needs of the codec is there while it trains.
        command: what the card says this run was started with.
        progress: told of each song, step, validation and set of clips.
        stop: asked after each song and each step; True saves and stops.

    Raises:
        ConfigError: contradicting settings; a codec that gradients cannot pass.
        StoppedEarly: `budget` or `stop` ended the run before its first step; what is encoded stays in the cache.
        AudioError: no usable song.
        CheckpointError: `resume` or `init` does not fit.
        OutputError: a file cannot be written.
        TrainingError: too many steps in a row without a finite loss.
    """
    began = time.monotonic()
    target = torch.device(device) if device is not None else codec.flow_matching.codebooks.device
    mixture = parse_objective(objective)
    settings = TrainSettings(
        projection_type=projection_type,
        hidden_dim=hidden_dim,
        latent_dim=2 * codec.config.latent_hidden_dim if latent_dim is None else latent_dim,
        latents=latents,
        objective=mixture,
        quantize=Quantize(quantizer, dither, top_k, temperature, entropy_weight, revival),
        batch_size=batch_size,
        accumulate=accumulate,
        frames=crop_frames(max_duration, mixture, codec),
        steps=steps or 1,  # where epochs are given: known once the songs are
        learning_rate=lr,
        warmup_steps=warmup_steps,
        grad_clip=grad_clip,
        weight_decay=weight_decay,
        commitment_weight=commitment_weight,
        mel_weight=mel_weight,
        l2_weight=l2_weight,
        include_phase=include_phase,
        highfreq_weight=highfreq_weight,
        ode_steps=ode_steps,
        init=str(init),
        seed=seed,
        max_seconds_per_song=max_seconds_per_song,
        precision=precision or ("bfloat16" if target.type == "cuda" else "float32"),
    )
    request = Request(
        settings=settings,
        schedule=Schedule(steps, epochs, val_interval, val_crops, save_interval, keep, budget),
        checkpoint=find_checkpoint(output_dir, resume, overwrite),
        output_dir=output_dir,
        distill_tokens=distill_tokens,
        find_lr=find_lr,
        overwrite=overwrite,
        clips=ClipPlan(num_val_samples, val_detokenize_steps, deshimmer),
        command=command,
    )
    request.check(codec)
    limits = Limits(None if budget is None else began + budget, stop)
    with (
        join_world(target) as world,
        log_file(output_dir, world.main),
        open_cache(cache_dir, codec.fingerprint(), gigabytes=cache_size, keep=use_cache) as cache,
        checkpointing(codec, gradient_checkpointing),
        put_back(codec),
    ):
        place(codec, Parts(waveform=True), target)
        songs = split_songs(
            data_dir,
            val_dir,
            codec=codec,
            cache=cache,
            encoding=request.encoding(codec),
            needs=request.needs,
            progress=progress if world.main else None,
            limits=limits,
            world=world,
            workers=num_workers,
        )
        if world.main:
            write_skipped(output_dir, songs.skipped)
        run = begin(
            request,
            songs,
            codec,
            world=world,
            device=target,
            workers=num_workers,
            limits=limits,
            progress=progress,
        )
        ended = run.fit()
    return _result(run, songs, ended, time.monotonic() - began)


def _result(run: Run, songs: SongSplit, ended: str, seconds: float) -> TrainResult:
    state = run.state
    return TrainResult(
        ended=ended,
        step=state.step,
        steps=run.settings.steps,
        projection=run.output_dir / BEST,
        best_flow=state.best_flow,
        best_step=state.best_step,
        best_stft=state.best_stft,
        best_stft_step=state.best_stft_step,
        validations=tuple(run.history),
        clips=tuple(run.clip_history),
        skipped_files=songs.skipped,
        skipped_steps=state.skipped,
        songs=len(songs.training),
        hours=songs.seconds / 3600,
        encoded_seconds=songs.encoded_seconds,
        encoding_wall=songs.encoding_wall,
        seconds=seconds,
        main=run.source.world.main,
    )
