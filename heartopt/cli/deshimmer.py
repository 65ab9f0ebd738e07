"""`heartopt deshimmer`: audio -> the same audio without the ringing at 5-7 kHz."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from heartopt.cli import options
from heartopt.cli.batch import Batch, Job, finish, leave_finished, prepare_output, run_jobs
from heartopt.cli.console import Session, session
from heartopt.cli.figures import NONE
from heartopt.cli.tokenize import INPUTS_HELP, audio_jobs
from heartopt.errors import ConfigError

if TYPE_CHECKING:
    from heartopt.deshimmer_file import Deshimmered
    from heartopt.shimmer import DeshimmerParams

SUFFIX, REMOVED_SUFFIX, PLOT_SUFFIX = ".deshimmered.wav", ".removed.wav", ".shimmer.png"
PLOT_SECONDS = 10.0


def _number(flag: str, text: str) -> Any:
    return typer.Option(flag, help=text, callback=options.check_finite)


def deshimmer(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help=INPUTS_HELP)],
    output_dir: options.OutputOption,
    difference: Annotated[
        bool, typer.Option("--difference", help=f"Also write what was removed: NAME{REMOVED_SUFFIX}.")
    ] = False,
    plot: Annotated[
        bool,
        typer.Option("--plot", help=f"Also draw the {PLOT_SECONDS:g} s with the most shimmer: NAME{PLOT_SUFFIX}."),
    ] = False,
    low: Annotated[float | None, _number("--low", "Lower end of the band in Hz; default 5100.")] = None,
    high: Annotated[float | None, _number("--high", "Upper end of the band in Hz; default 7200.")] = None,
    centre: Annotated[float | None, _number("--center", "The band by its centre in Hz, and …")] = None,
    cents: Annotated[float | None, _number("--cents", "… by its whole width in cents (1200: an octave).")] = None,
    threshold: Annotated[float, _number("--threshold", "dB above its neighbours from which a bin rings.")] = 8.0,
    slope: Annotated[float, _number("--slope", "dB of attenuation for each dB above that.")] = 0.6,
    mix: Annotated[float, _number("--mix", "From 0 (as it was) to 1.")] = 1.0,
    resynthesis: Annotated[
        float, _number("--noise-resynth", "From 0 to 1: random phases where the band is noise.")
    ] = 0.0,
    mixdown: options.MixdownOption = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are already there; without it, they are skipped.")
    ] = False,
    codec: options.UnusedCodecOption = "mini",
    revision: options.UnusedRevisionOption = None,
    local_files_only: options.UnusedLocalFilesOption = False,
    device: options.UnusedDeviceOption = "auto",
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of the random phases.", rich_help_panel=options.COMMON)
    ] = 0,
    json_output: options.JsonOption = False,
    config: options.ConfigOption = None,
) -> None:
    """Turn down narrow ringing in noisy passages: write NAME.deshimmered.wav, at the file's own rate."""
    with session(json_output) as current:
        settings = {"threshold": threshold, "slope": slope, "mix": mix, "resynthesis": resynthesis, "seed": seed}
        params = _params(low, high, centre, cents, settings)
        extras = {"difference": difference, "plot": plot, "mixdown": mixdown, "overwrite": overwrite}
        run(current, inputs, output_dir, params=params, **extras)


def _params(
    low: float | None, high: float | None, centre: float | None, cents: float | None, settings: dict[str, Any]
) -> DeshimmerParams:
    """Raises ConfigError for a band given in both ways, by half, or out of range."""
    from heartopt.shimmer import DeshimmerParams

    if (centre is None) != (cents is None):
        raise ConfigError("--center and --cents need each other: give both or neither")
    if centre is None or cents is None:
        low = DeshimmerParams.low if low is None else low
        high = DeshimmerParams.high if high is None else high
        return DeshimmerParams(low=low, high=high, **settings)
    if low is not None or high is not None:
        raise ConfigError("the band is given twice: by --center and --cents, or by --low and --high")
    return DeshimmerParams.around(centre, cents, **settings)


def run(
    current: Session,
    inputs: list[Path],
    output: Path,
    *,
    params: DeshimmerParams,
    difference: bool,
    plot: bool,
    mixdown: bool,
    overwrite: bool,
) -> None:
    """Deshimmer every input that has no output yet and print the result."""
    own = (SUFFIX, REMOVED_SUFFIX)  # an earlier run's files in the same folder count where they are named, not found
    jobs = [job for job in audio_jobs(inputs, output) if job.source in inputs or not job.source.name.endswith(own)]
    jobs, skipped = (jobs, []) if overwrite else leave_finished(jobs, SUFFIX)
    if not jobs:
        return finish(current, Batch([], []), skipped=skipped)
    if plot:
        from heartopt.report.shimmer import need_matplotlib

        need_matplotlib()  # known before the first file is written
    prepare_output(output)
    with current.progress() as bar:
        task = bar.add_task("deshimmering", total=None, detail="")

        def work(job: Job) -> dict[str, Any]:
            def show(done: float) -> None:
                bar.update(task, description=f"deshimmering {job.source.name}", total=1.0, completed=done)

            return deshimmer_job(job, params, difference=difference, plot=plot, mixdown=mixdown, show=show)

        batch = run_jobs(current, jobs, work)
    for row in batch.results:
        if row["gain_db"]:
            current.note(f"{row['audio']}: scaled by {row['gain_db']:.2f} dB to stay under full scale")
    finish(current, batch, *_table(batch.results), skipped=skipped)


def deshimmer_job(
    job: Job, params: DeshimmerParams, *, difference: bool, plot: bool, mixdown: bool, show: Any
) -> dict[str, Any]:
    """Deshimmer one file, write what is asked for, return its row; `show` hears the share done."""
    from heartopt.deshimmer_file import deshimmer_file

    started = time.perf_counter()
    removed = job.output(REMOVED_SUFFIX) if difference else None
    found = deshimmer_file(job.source, job.output(SUFFIX), params, difference=removed, mixdown=mixdown, progress=show)
    if plot:
        _draw(job, found, params, mixdown=mixdown)
    wall = time.perf_counter() - started
    return {
        "input": str(job.source),
        "audio": str(job.output(SUFFIX)),
        "removed": None if removed is None else str(removed),
        "plot": str(job.output(PLOT_SUFFIX)) if plot else None,
        "seconds": found.seconds,
        "sample_rate": found.sample_rate,
        "removed_db": found.removed_db,
        "gain_db": found.gain_db,
        "wall_seconds": wall,
        "rtf": wall / found.seconds,
    }


def _draw(job: Job, found: Deshimmered, params: DeshimmerParams, *, mixdown: bool) -> None:
    """The passage from which the most was removed."""
    from heartopt.audio import AudioFile
    from heartopt.deshimmer import find_shimmer
    from heartopt.report.shimmer import draw_shimmer

    with AudioFile(job.source, mixdown=mixdown, native=True) as file:
        start = round(found.most_removed * file.rate)
        audio = file.read(start, start + round(PLOT_SECONDS * file.rate))
        shimmer = find_shimmer(audio, file.rate, params)
    draw_shimmer(shimmer, job.output(PLOT_SUFFIX), title=job.source.name, start=found.most_removed)


def _table(results: list[dict[str, Any]]) -> list[Table]:
    table = Table()
    table.add_column("audio", overflow="fold")
    for name in ("seconds", "removed (dB)", "took (s)", "real-time factor"):
        table.add_column(name, justify="right")
    for row in results:
        level = f"{row['removed_db']:.1f}" if math.isfinite(row["removed_db"]) else NONE
        figures = (f"{row['seconds']:.2f}", level, f"{row['wall_seconds']:.1f}", f"{row['rtf']:.3f}")
        table.add_row(escape(row["audio"]), *figures)
    return [table] if results else []
