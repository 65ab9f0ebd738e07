"""`heartopt train`: a folder of songs -> an encoder projection."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from heartopt.cli import options
from heartopt.cli.console import EXIT_INTERRUPTED, EXIT_SOME_FAILED, Session, command_line, session
from heartopt.cli.loading import CodecChoice

if TYPE_CHECKING:
    from heartopt.training.data import SongReady
    from heartopt.training.loop import StepRecord
    from heartopt.training.train import TrainResult
    from heartopt.training.validation import ValidationRecord

DATA_HELP = "Folder of songs (searched through), or a list of them (.txt, .tsv)."
VAL_HELP = "Held-out songs, in the same way; default: a tenth of the songs."


def train(
    data_dir: Annotated[Path, typer.Option("--data-dir", help=DATA_HELP, metavar="PATH")],
    output_dir: options.OutputOption,
    val_dir: Annotated[Path | None, typer.Option("--val-dir", help=VAL_HELP, metavar="PATH")] = None,
    projection_type: Annotated[str, typer.Option("--projection-type", help="linear, conv1d or query.")] = "conv1d",
    hidden_dim: Annotated[int, typer.Option("--hidden-dim", min=1, help="Hidden width.")] = 256,
    latent_dim: Annotated[
        int | None,
        typer.Option(
            "--latent-dim",
            help="Width of what it reads: the codec's (the channels' mean) or twice that (stereo); default: stereo.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Crops a step.")] = 8,
    max_duration: Annotated[
        float | None,
        typer.Option(
            "--max-duration", help="Seconds of a crop; default: the codec's window.", callback=options.check_finite
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Length of the run in steps, or …")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="… in epochs; 100 epochs by default.")] = None,
    lr: Annotated[float, typer.Option("--lr", help="Peak learning rate.", callback=options.check_finite)] = 1e-3,
    warmup_steps: Annotated[int, typer.Option("--warmup-steps", min=0, help="Steps up to it.")] = 100,
    grad_clip: Annotated[
        float, typer.Option("--grad-clip", help="Bound of the gradient's norm.", callback=options.check_finite)
    ] = 0.5,
    weight_decay: Annotated[
        float, typer.Option("--weight-decay", help="AdamW's decay.", callback=options.check_finite)
    ] = 0.01,
    commitment_weight: Annotated[
        float, typer.Option("--commitment-weight", help="Weight of the commitment term.", callback=options.check_finite)
    ] = 0.25,
    init: Annotated[
        str, typer.Option("--init", help="codebook: begin at the codebooks' mean and scale; random: do not.")
    ] = "codebook",
    val_interval: Annotated[
        float, typer.Option("--val-interval", help="Epochs between validations.", callback=options.check_finite)
    ] = 1.0,
    val_samples: Annotated[int, typer.Option("--val-samples", min=1, help="Held-out crops.")] = 16,
    save_interval: Annotated[int, typer.Option("--save-interval", min=1, help="Steps between checkpoints.")] = 100,
    resume: Annotated[str | None, typer.Option("--resume", help="auto, or a checkpoint to go on from.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew in a folder that holds a run.")] = False,
    max_seconds_per_song: Annotated[
        float | None,
        typer.Option("--max-seconds-per-song", help="Of each song, from its middle.", callback=options.check_finite),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option("--cache-dir", help="Of latents; default $HEARTOPT_CACHE or ~/.cache/heartopt."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option("--budget", help="Seconds after which the run saves and stops.", callback=options.check_finite),
    ] = None,
    codec: options.CodecOption = "mini",
    revision: options.RevisionOption = None,
    local_files_only: options.LocalFilesOption = False,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "float32",
    seed: options.SeedOption = 0,
    json_output: options.JsonOption = False,
    config: options.ConfigOption = None,
) -> None:
    """Learn a projection: write best_projection.safetensors, checkpoints and logs."""
    settings = {key: value for key, value in locals().items() if key not in _NOT_SETTINGS}
    with session(json_output, thrift="try a smaller --batch-size or --max-duration") as current:
        choice = CodecChoice(codec, revision, local_files_only, device, dtype)
        run(current, choice, settings)


_NOT_SETTINGS = {"codec", "revision", "local_files_only", "device", "dtype", "json_output", "config"}


def run(current: Session, choice: CodecChoice, settings: dict[str, Any]) -> None:
    """Train, print what came of it; Ctrl-C saves after the song or step at hand. Raises typer.Exit 130 after that."""
    from heartopt.training.stopping import StoppedEarly
    from heartopt.training.train import train as train_projection

    model = choice.load()
    try:
        with current.progress() as bar, _stop_on_interrupt(current) as stop:
            result = train_projection(
                codec=model,
                device=model.scalar_device,
                command=command_line(),
                progress=Report(bar),
                stop=stop,
                **settings,
            )
    except StoppedEarly as early:
        if early.ended != "stopped":
            raise
        current.result({"error": str(early)})
        current.note(str(early))
        raise typer.Exit(EXIT_INTERRUPTED) from early
    current.result(_record(result), _table(result))
    if result.ended != "done":
        current.note(f"ended ({result.ended}) after step {result.step} of {result.steps}; go on with --resume auto")
    if result.ended == "stopped":
        raise typer.Exit(EXIT_INTERRUPTED)
    if any(file.failed for file in result.skipped_files):  # each was warned of
        raise typer.Exit(EXIT_SOME_FAILED)


@contextmanager
def _stop_on_interrupt(current: Session) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks the loop to save and stop, the second one interrupts as usual."""
    asked = False

    def ask(_signal: int, _frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, previous)
        current.note("stopping after this song or step (Ctrl-C again: at once)")

    previous = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)


class Report:
    """Shows on a progress bar what the training loop tells."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.songs = bar.add_task("reading songs", total=None, detail="")
        self.steps = bar.add_task("training", total=None, detail="", visible=False)
        self.held_out = ""

    def __call__(self, event: SongReady | StepRecord | ValidationRecord) -> None:
        from heartopt.training.data import SongReady
        from heartopt.training.loop import StepRecord

        if isinstance(event, SongReady):
            self.bar.update(self.songs, completed=event.done, total=event.total, detail=event.name)
        elif isinstance(event, StepRecord):
            detail = f"flow {event.flow:.3f}{self.held_out}"
            self.bar.update(self.steps, completed=event.step, total=event.steps, detail=detail, visible=True)
        else:
            self.held_out = f"  held out {event.flow:.3f}"


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
        "held_out": [{"step": record.step, "flow": record.flow} for record in result.validations],
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
    return table
