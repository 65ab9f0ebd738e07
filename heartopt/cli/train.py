"""`heartopt train`: a folder of songs -> an encoder projection."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from heartopt.cli import options
from heartopt.cli import train_options as flags
from heartopt.cli.console import EXIT_INTERRUPTED, EXIT_SOME_FAILED, Session, command_line, session
from heartopt.cli.loading import CodecChoice, local_device, pick_device
from heartopt.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from heartopt.training.train import TrainResult


def train(
    data_dir: flags.DataDir,
    val_dir: flags.ValDir = None,
    output_dir: flags.OutputDir = Path("encoder_projection_fast"),
    max_duration: flags.MaxDuration = None,
    max_seconds_per_song: flags.MaxSecondsPerSong = None,
    projection_type: flags.ProjectionType = "conv1d",
    hidden_dim: flags.HiddenDim = 256,
    latent_dim: flags.LatentDim = None,
    latents: flags.Latents = "tanh",
    init: flags.Init = "codebook",
    objective: flags.Objective = "flow",
    quantizer: flags.Quantizer = "straight-through",
    dither: flags.Dither = 0.0,
    top_k: flags.TopK = 64,
    temp_start: flags.TempStart = 1.0,
    temp_end: flags.TempEnd = 0.1,
    entropy_weight: flags.EntropyWeight = 0.1,
    revival: flags.Revival = 0.1,
    distill_tokens: flags.DistillTokens = None,
    ode_steps: flags.OdeSteps = 4,
    batch_size: flags.BatchSize = 8,
    accumulate: flags.Accumulate = 1,
    steps: flags.Steps = None,
    epochs: flags.Epochs = None,
    lr: flags.LearningRate = 1e-3,
    find_lr: flags.FindLr = False,
    warmup_steps: flags.WarmupSteps = 2000,
    weight_decay: flags.WeightDecay = 0.01,
    commitment_weight: flags.CommitmentWeight = 0.25,
    mel_weight: flags.MelWeight = 0.5,
    l2_weight: flags.L2Weight = 0.001,
    include_phase: flags.IncludePhase = False,
    highfreq_weight: flags.HighfreqWeight = 0.0,
    grad_clip: flags.GradClip = 0.5,
    use_amp: flags.UseAmp = None,
    amp_dtype: flags.AmpDtype = None,
    gradient_checkpointing: flags.GradientCheckpointing = False,
    val_interval: flags.ValInterval = 5.0,
    val_crops: flags.ValCrops = 16,
    num_val_samples: flags.NumValSamples = 5,
    val_detokenize_steps: flags.ValDetokenizeSteps = 20,
    val_diffusion_steps: flags.ValDiffusionSteps = 16,
    deshimmer: flags.Deshimmer = False,
    save_interval: flags.SaveInterval = 10.0,
    keep: flags.Keep = 3,
    resume: flags.Resume = None,
    overwrite: flags.Overwrite = False,
    cache_dir: flags.CacheDir = None,
    cache_size: flags.CacheSize = 64.0,
    no_cache: flags.NoCache = False,
    num_workers: flags.NumWorkers = 4,
    budget: flags.Budget = None,
    codec: options.CodecOption = "mini",
    revision: options.RevisionOption = None,
    local_files_only: options.LocalFilesOption = False,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "float32",
    seed: options.SeedOption = 0,
    json_output: options.JsonOption = False,
    config: options.ConfigOption = None,
) -> None:
    """Learn a projection: write the best one, checkpoints, decoded clips, curves and logs."""
    settings = {key: value for key, value in locals().items() if key not in _NOT_SETTINGS}
    settings |= {"temperature": (temp_start, temp_end), "use_cache": not no_cache, "latents": latents.replace("-", "_")}
    with session(json_output, thrift=THRIFT) as current:
        settings["precision"] = _precision(use_amp, amp_dtype)
        choice = CodecChoice(codec, revision, local_files_only, "cpu", dtype)
        run(current, choice, pick_device(local_device(device)), settings)


def _precision(use_amp: bool | None, amp_dtype: str | None) -> str | None:
    """What both flags come to; None is the library's own choice. Raises ConfigError."""
    if amp_dtype not in (None, *HALF):
        raise ConfigError(f"--amp-dtype {amp_dtype}: choose {' or '.join(HALF)}, or --no-amp for float32")
    if use_amp is False and amp_dtype is not None:
        raise ConfigError("--no-amp and --amp-dtype are both given: give one of the two")
    if use_amp is None:
        return amp_dtype
    return (amp_dtype or "bfloat16") if use_amp else "float32"


#: The training report's advice, and what it has not.
THRIFT = "try --batch-size 2 with --grad-accum 4, --max-duration 3, --gradient-checkpointing, or --dtype bfloat16"
HALF = ("bfloat16", "float16")
_NOT_SETTINGS = {
    *("codec", "revision", "local_files_only", "device", "dtype", "json_output", "config"),
    *("temp_start", "temp_end", "no_cache", "use_amp", "amp_dtype", "val_diffusion_steps"),
}


def run(current: Session, choice: CodecChoice, device: torch.device, settings: dict[str, Any]) -> None:
    """Train, print what came of it. A signal saves after the song or step at hand; raises typer.Exit 130 after that."""
    from heartopt.cli.train_view import TrainView
    from heartopt.training.stopping import StoppedEarly
    from heartopt.training.train import train as train_projection

    model = choice.load()  # into the machine's memory: training puts what it needs on the device
    try:
        with TrainView(_shared_terminal(current)) as view, _stop_on_signal(current) as stop:
            result = train_projection(
                codec=model, device=device, command=command_line(), progress=view, stop=stop, **settings
            )
    except StoppedEarly as early:
        if early.ended != "stopped":
            raise
        current.result({"error": str(early)})
        current.note(str(early))
        raise typer.Exit(EXIT_INTERRUPTED) from early
    if not result.main:
        return
    current.result(_record(result), _table(result))
    if result.ended != "done":
        current.note(f"ended ({result.ended}) after step {result.step} of {result.steps}; go on with --resume auto")
    if result.ended == "stopped":
        raise typer.Exit(EXIT_INTERRUPTED)
    alone = os.environ.get("WORLD_SIZE", "1") == "1"  # to a launcher every code but 0 is a crash of all processes
    if alone and any(file.failed for file in result.skipped_files):  # each was warned of
        raise typer.Exit(EXIT_SOME_FAILED)


def _shared_terminal(current: Session) -> Console:
    """Where a process shows its run: of several that share a terminal only the first does."""
    return current.stderr if os.environ.get("RANK", "0") == "0" else Console(quiet=True, force_interactive=False)


@contextmanager
def _stop_on_signal(current: Session) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM asks the loop to save and stop, the second one acts as usual."""
    asked = False

    def ask(_signal: int, _frame: object) -> None:
        nonlocal asked
        asked = True
        for number, handler in previous.items():
            signal.signal(number, handler)
        current.note("stopping after this song or step (once more: at once)")

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _record(result: TrainResult) -> dict[str, Any]:
    skipped = [file for file in result.skipped_files if not file.failed]
    failed = [file for file in result.skipped_files if file.failed]
    return {
        "projection": str(result.projection),
        "ended": result.ended,
        "step": result.step,
        "steps": result.steps,
        "best_step": result.best_step,
        "best_flow": result.best_flow,
        "best_stft": result.best_stft,
        "best_stft_step": result.best_stft_step,
        "held_out": [{"step": record.step, "flow": record.flow} for record in result.validations],
        "clips": [{"step": record.step, "tier": record.tier, **record.metrics} for record in result.clips],
        "songs": result.songs,
        "hours": result.hours,
        "skipped_steps": result.skipped_steps,
        "wall_seconds": result.seconds,
        "skipped": [{"input": str(file.path), "reason": file.reason} for file in skipped],
        "failed": [{"input": str(file.path), "error": file.reason} for file in failed],
    }


def _table(result: TrainResult) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("projection", escape(str(result.projection)))
    table.add_row("steps", f"{result.step} of {result.steps} in {result.seconds:.0f} s")
    failed = sum(file.failed for file in result.skipped_files)
    left_out = f"{len(result.skipped_files) - failed} skipped, {failed} failed"
    table.add_row("songs", f"{result.songs} ({result.hours:.2f} h), {left_out}")
    if result.validations:
        first = result.validations[0]
        table.add_row("held-out flow loss", f"{first.flow:.4f} (step {first.step}) -> {result.best_flow:.4f}")
    table.add_row("best after step", str(result.best_step))
    if result.clips and result.clips[-1].metrics:
        last = result.clips[-1]
        table.add_row("decoded clips", f"STFT {last.metrics['stft']:.3f} ({last.tier}), mel {last.metrics['mel']:.3f}")
    return table
