"""`heartopt evaluate`: how good tokens are, in tables that a person and a CI job can trust."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartopt.cli import options
from heartopt.cli.batch import prepare_output
from heartopt.cli.console import EXIT_FAILED, EXIT_SOME_FAILED, Session, command_line, session
from heartopt.cli.loading import CodecChoice, check_duration, load_projection
from heartopt.errors import ConfigError, HeartoptError

if TYPE_CHECKING:
    from heartopt.evaluation.suites import Suite

INPUTS_HELP = "Audio files, or folders that are searched for them; or give --suite."


def evaluate(
    inputs: Annotated[list[Path] | None, typer.Argument(metavar="[INPUT...]", help=INPUTS_HELP)] = None,
    suite: Annotated[Path | None, typer.Option("--suite", help="Suite of songs.", metavar="FILE.yaml")] = None,
    systems: Annotated[
        list[str] | None,
        typer.Option("--systems", help="Names, with commas or repeated; default: the suite's, else all."),
    ] = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metrics", help="Names, with commas or repeated; default: all.")
    ] = None,
    judge_seeds: Annotated[
        list[str] | None,
        typer.Option("--judge-seeds", help="Decoding seeds, with commas; default: the suite's, else 101,102."),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Also write CSV, JSON and Markdown.", metavar="DIR"),
    ] = None,
    projection: options.ProjectionOption = None,
    steps: Annotated[int, typer.Option("--steps", min=0, help="Steps a window of the system `optimized`.")] = 40,
    num_steps: Annotated[int, typer.Option("--num-steps", min=1, help="Euler steps of the decoder.")] = 10,
    guidance: Annotated[
        float, typer.Option("--guidance", min=0, help="Guidance scale of the decoder.", callback=options.check_finite)
    ] = 1.25,
    duration: options.DurationOption = None,
    mixdown: options.MixdownOption = False,
    codec: options.CodecOption = "mini",
    revision: options.RevisionOption = None,
    local_files_only: options.LocalFilesOption = False,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "float32",
    seed: options.SeedOption = 0,
    json_output: options.JsonOption = False,
    config: options.ConfigOption = None,
) -> None:
    """Judge tokens: decode songs by several systems, measure, and say how sure that is."""
    seeds = _seeds(judge_seeds)
    if bool(inputs) == (suite is not None):
        raise typer.BadParameter("give audio files or --suite, and not both")
    with session(json_output, thrift="try a smaller --duration, or shorter songs") as current:
        choice = CodecChoice(codec, revision, local_files_only, device, dtype)
        request = Request(inputs or [], suite, _names(systems), _names(metrics), seeds, mixdown)
        decoding = {"num_steps": num_steps, "guidance_scale": guidance}
        if duration is not None:
            decoding["duration"] = duration
        run(current, request, output_dir, projection, decoding=decoding, steps=steps, seed=seed, choice=choice)


@dataclass(frozen=True)
class Request:
    """What to judge: songs or a suite, by which systems, metrics, decoding seeds; None: the library's default."""

    inputs: list[Path]
    suite: Path | None
    systems: list[str] | None
    metrics: list[str] | None
    seeds: list[int] | None
    mixdown: bool


def _names(values: list[str] | None) -> list[str] | None:
    """`["a,b", "c"]` -> `["a", "b", "c"]`; None where nothing was given."""
    names = [name.strip() for value in values or [] for name in str(value).split(",")]
    return [name for name in names if name] or None


def _seeds(values: list[str] | None) -> list[int] | None:
    try:
        return [int(name) for name in _names(values) or []] or None
    except ValueError as error:
        raise typer.BadParameter(f"--judge-seeds: {error}") from error


def _read_suite(path: Path) -> Suite:
    """The suite at `path`. Raises HeartoptError: what is wrong there is in a file, not on the command line."""
    from heartopt.evaluation.suites import load_suite

    try:
        return load_suite(path)
    except ConfigError as error:
        raise HeartoptError(str(error)) from error


def run(
    current: Session,
    request: Request,
    output: Path | None,
    projection: Path | None,
    *,
    decoding: dict[str, Any],
    steps: int,
    seed: int,
    choice: CodecChoice,
) -> None:
    """Evaluate, print, write. Raises typer.Exit: 1 if nothing could be judged, 3 if some could not."""
    from heartopt.evaluation import Progress, evaluate
    from heartopt.optimize import OptimizeSettings
    from heartopt.report import render, write_report

    check_duration(decoding.get("duration"))
    suite = None if request.suite is None else _read_suite(request.suite)
    if output is not None:
        prepare_output(output)
    model = choice.load()
    with current.progress() as bar:
        task = bar.add_task("evaluating", total=None, detail="")

        def show(event: Progress) -> None:
            bar.update(task, completed=event.done, total=event.total, detail=f"{event.file} {event.system}")

        found = evaluate(
            codec=model,
            suite=suite,
            files=request.inputs or None,
            systems=request.systems,
            metrics=request.metrics,
            seeds=request.seeds,
            projection=None if projection is None else load_projection(projection, model),
            projection_name=None if projection is None else str(projection),
            optimize=OptimizeSettings(steps=steps, seed=seed),
            seed=seed,
            mixdown=request.mixdown,
            progress=show,
            **decoding,
        )
    if output is not None:
        files = write_report(found, output_dir=output, command=command_line())
        current.note(f"wrote {files.markdown}, {files.csv} and {files.json}")
    current.result(found.to_json(), render(found))  # which lists what failed
    if found.failed:
        raise typer.Exit(EXIT_SOME_FAILED if found.rows else EXIT_FAILED)
