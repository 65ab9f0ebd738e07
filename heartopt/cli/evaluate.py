"""`heartopt evaluate`: how good tokens are, in tables that a person and a CI job can trust."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer

from heartopt.cli import evaluate_options as own
from heartopt.cli import options
from heartopt.cli.batch import prepare_output
from heartopt.cli.console import (
    EXIT_FAILED,
    EXIT_REGRESSION,
    EXIT_SOME_FAILED,
    Session,
    command_line,
    exit_code,
    print_error,
    session,
)
from heartopt.cli.evaluate_gate import Gate
from heartopt.cli.loading import CodecChoice, check_duration, load_projection
from heartopt.errors import ConfigError, HeartoptError, OutputError

if TYPE_CHECKING:
    from heartopt.evaluation import Evaluation, Plan
    from heartopt.evaluation.suites import Suite


def evaluate(
    inputs: own.Inputs = None,
    suite: own.SuiteFile = None,
    systems: own.Systems = None,
    metrics: own.Metrics = None,
    judge_seeds: own.JudgeSeeds = None,
    against: own.Against = None,
    embedder: own.Embedder = "spectral",
    projection: options.ProjectionOption = None,
    steps: own.Steps = 40,
    num_steps: own.NumSteps = 10,
    guidance: own.Guidance = 1.25,
    duration: options.DurationOption = None,
    mixdown: options.MixdownOption = False,
    jobs: own.Jobs = 1,
    cache: own.Cache = None,
    no_cache: own.NoCache = False,
    resume: own.Resume = False,
    output_dir: own.OutputDir = None,
    page: own.Page = None,
    page_songs: own.PageSongs = 3,
    page_seconds: own.PageSeconds = 8.0,
    plots: own.Plots = False,
    baseline: own.BaselineFile = None,
    fail_on_regression: own.FailOnRegression = False,
    update_baseline: own.UpdateBaseline = False,
    tolerance: own.Tolerance = None,
    junit: own.Junit = None,
    step_summary: own.StepSummary = None,
    codec: options.CodecOption = "mini",
    revision: options.RevisionOption = None,
    local_files_only: options.LocalFilesOption = False,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "float32",
    seed: options.SeedOption = 0,
    json_output: options.JsonOption = False,
    config: options.ConfigOption = None,
) -> None:
    """Judge tokens: decode songs by several systems, measure, and say how sure that is.

    A song is in memory at a time (a process): about 1 MB a second of it and up to 600 MB of spectra, beside the codec.
    """
    seeds = _seeds(judge_seeds)
    if bool(inputs) == (suite is not None):
        raise typer.BadParameter("give audio files or --suite, and not both")
    if plots and output_dir is None:
        raise typer.BadParameter("--plots are written into --output-dir: give one")
    if no_cache and (cache is not None or resume):
        raise typer.BadParameter("--no-cache keeps nothing: it goes neither with --cache nor with --resume")
    gate = Gate(baseline, fail_on_regression, update_baseline, tuple(tolerance or ()), junit, step_summary)
    gate.check_usage()
    with session(json_output, thrift="try a smaller --duration, fewer --jobs, or shorter songs") as current:
        choice = CodecChoice(codec, revision, local_files_only, device, dtype)
        asked = {
            "suite": suite, "files": inputs, "systems": _names(systems), "metrics": _names(metrics), "seeds": seeds,
            "against": against, "embedder": None if embedder == "none" else embedder, "num_steps": num_steps,
            "guidance_scale": guidance, "duration": duration, "mixdown": mixdown, "seed": seed,
        }  # fmt: skip
        outputs = Outputs(output_dir, page, page_songs, page_seconds, plots)
        with _keeping(cache, no_cache, outputs) as kept:
            run(
                current, choice, asked, projection=projection, steps=steps, jobs=jobs, cache=kept, outputs=outputs,
                gate=gate,
            )  # fmt: skip


@dataclass(frozen=True)
class Outputs:
    """What is written besides the result: a report's folder, a page, how much of how many songs, spectrograms."""

    folder: Path | None
    page: Path | None
    songs: int
    seconds: float
    plots: bool

    @property
    def of_sound(self) -> bool:
        """Whether the sounds are needed once more when all is judged."""
        return self.page is not None or self.plots


def _names(values: list[str] | None) -> list[str] | None:
    """`["a,b", "c"]` -> `["a", "b", "c"]`; None where nothing was given."""
    names = [name.strip() for value in values or [] for name in str(value).split(",")]
    return [name for name in names if name] or None


def _seeds(values: list[str] | None) -> list[int] | None:
    try:
        return [int(name) for name in _names(values) or []] or None
    except ValueError as error:
        raise typer.BadParameter(f"--judge-seeds: {error}") from error


@contextmanager
def _keeping(cache: Path | None, no_cache: bool, outputs: Outputs) -> Iterator[Path | None]:
    """The folder that results are kept in, None for none.

    Without a cache, sounds that are needed again are kept until the end: their tokens may have taken hours.

    Raises:
        OutputError: a folder cannot be written.
    """
    from heartopt.evaluation.cache import default_folder

    if no_cache and outputs.of_sound:
        try:
            folder = TemporaryDirectory(prefix="heartopt-", ignore_cleanup_errors=True)
        except OSError as error:
            raise OutputError(f"cannot make a temporary folder: {error.strerror or error}; set TMPDIR") from error
        with folder as name:
            yield Path(name)
    elif no_cache:
        yield None
    else:
        yield default_folder() if cache is None else prepare_output(cache)


def _read_suite(path: Path) -> Suite:
    """The suite at `path`. Raises HeartoptError: what is wrong there is in a file, not on the command line."""
    from heartopt.evaluation.suites import load_suite

    try:
        return load_suite(path)
    except ConfigError as error:
        raise HeartoptError(str(error)) from error


def run(
    current: Session,
    choice: CodecChoice,
    asked: dict[str, Any],
    *,
    projection: Path | None,
    steps: int,
    jobs: int,
    cache: Path | None,
    outputs: Outputs,
    gate: Gate,
) -> None:
    """Evaluate, print, write, hold against the baseline. `asked`: of `heartopt.evaluation.Request`.

    Raises:
        typer.Exit: 1 if nothing could be judged, 3 if some could not, 4 for a regression where that is to fail.
    """
    from heartopt.evaluation import Request, make_plan
    from heartopt.optimize import OptimizeSettings
    from heartopt.report import render

    check_duration(asked["duration"])
    if asked["suite"] is not None:
        asked = {**asked, "suite": _read_suite(asked["suite"])}
    gate.read()
    if outputs.folder is not None:
        prepare_output(outputs.folder)
    model = choice.load()
    plan = make_plan(
        Request(
            codec=model,
            projection=None if projection is None else load_projection(projection, model),
            projection_name=None if projection is None else str(projection),
            optimize=OptimizeSettings(steps=steps, seed=asked["seed"]),
            cache=cache,
            **asked,
        )
    )
    gate.check(plan)
    found, kept = _judge(current, plan, jobs)
    found = gate.judge(found, current)
    if kept:
        current.note(f"{kept} of {len(found.rows)} rows were kept from before (--no-cache computes all of them)")
    record, unwritten = found.to_json(), None
    try:
        _write(current, plan, found, outputs)
    except HeartoptError as error:  # takes nothing else with it
        record, unwritten = {**record, "error": str(error)}, error
    current.result(record, render(found), *gate.tables)  # which list what failed
    if unwritten is not None:
        print_error(str(unwritten))
        raise typer.Exit(exit_code(unwritten))
    if gate.failed:
        raise typer.Exit(EXIT_REGRESSION)
    if found.failed:
        raise typer.Exit(EXIT_SOME_FAILED if found.rows else EXIT_FAILED)


def _judge(current: Session, plan: Plan, jobs: int) -> tuple[Evaluation, int]:
    """The evaluation, and how many of its rows nothing had to be computed for."""
    from heartopt.evaluation import Progress, run_plan

    with current.progress() as bar:
        task = bar.add_task("evaluating", total=None, detail="")

        def show(event: Progress) -> None:
            bar.update(task, completed=event.done, total=event.total, detail=f"{event.file} {event.system}")

        found, kept = run_plan(plan, jobs=jobs, progress=show)
    return replace(found, settings={**found.settings, "command": command_line()}), kept


def _write(current: Session, plan: Plan, found: Evaluation, outputs: Outputs) -> None:
    """The report, the page and the spectrograms, as far as they are asked for and there is a row to show."""
    from heartopt.cli.evaluate_page import beginnings, write_listening_page
    from heartopt.report import write_report

    if outputs.folder is not None:
        sounds = beginnings(plan, outputs.seconds) if outputs.plots else None
        files = write_report(found, output_dir=outputs.folder, sounds=sounds)
        pictures = f", {len(files.pictures)} pictures" if files.pictures else ""
        current.note(f"wrote {files.markdown}, {files.csv}, {files.summary}, {files.json}{pictures}")
    if outputs.page is not None and found.rows:
        write_listening_page(plan, found, outputs.page, songs=outputs.songs, seconds=outputs.seconds)
        current.note(f"wrote {outputs.page}")
