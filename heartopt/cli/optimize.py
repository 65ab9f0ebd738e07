"""`heartopt optimize`: songs -> the best tokens that the codec's decoder can use, and their sound."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import RenderableType
from rich.markup import escape
from rich.progress import Progress as Bar
from rich.table import Table

from heartopt.cli import options
from heartopt.cli.batch import Batch, Job, finish, leave_finished, prepare_output, run_jobs
from heartopt.cli.console import Session, session
from heartopt.cli.loading import CodecChoice, check_duration, load_projection
from heartopt.cli.tokenize import INPUTS_HELP, audio_jobs

if TYPE_CHECKING:
    from heartopt.optimize import Progress


def optimize(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help=INPUTS_HELP)],
    output_dir: options.OutputOption,
    projection: options.ProjectionOption = None,
    steps: Annotated[int, typer.Option("--steps", min=0, help="Optimizer steps a window.")] = 100,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget",
            min=0,
            help="Seconds for a song; sets --steps.",
            metavar="SECONDS",
            callback=options.check_finite,
        ),
    ] = None,
    keep_start: Annotated[
        bool, typer.Option("--keep-start", help="Also write NAME.start.wav, the sound of the first tokens.")
    ] = False,
    duration: options.DurationOption = None,
    mixdown: options.MixdownOption = False,
    overwrite: options.OverwriteTokensOption = False,
    codec: options.CodecOption = "mini",
    revision: options.RevisionOption = None,
    local_files_only: options.LocalFilesOption = False,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "float32",
    seed: options.SeedOption = 0,
    json_output: options.JsonOption = False,
    config: options.ConfigOption = None,
) -> None:
    """Refine tokens: write NAME.tokens.npy, NAME.tokens.json, NAME.optimized.wav for every song."""
    with session(json_output, thrift="try a smaller --duration") as current:
        choice = CodecChoice(codec, revision, local_files_only, device, dtype)
        settings: dict[str, Any] = {"steps": steps, "budget": budget, "seed": seed}
        if duration is not None:
            settings["duration"] = duration
        extras = {"mixdown": mixdown, "keep_start": keep_start}
        run(
            current,
            inputs,
            output_dir,
            projection,
            settings=settings,
            extras=extras,
            overwrite=overwrite,
            choice=choice,
        )


def run(
    current: Session,
    inputs: list[Path],
    output: Path,
    projection: Path | None,
    *,
    settings: dict[str, Any],
    extras: dict[str, bool],
    overwrite: bool,
    choice: CodecChoice,
) -> None:
    """Optimize every input that has no tokens yet and print the result.

    `settings` are `OptimizeSettings`'s, `extras` `optimize_file`'s.
    """
    from heartopt.optimize import OptimizeSettings, optimize_file
    from heartopt.tokens import TOKEN_SUFFIX

    wanted = OptimizeSettings(**settings)
    check_duration(wanted.duration)
    jobs = audio_jobs(inputs, output)
    jobs, skipped = (jobs, []) if overwrite else leave_finished(jobs, TOKEN_SUFFIX)
    if not jobs:
        return finish(current, Batch([], []), skipped=skipped)
    prepare_output(output)
    model = choice.load()
    encoder = load_projection(projection, model)
    with current.progress() as bar:

        def work(job: Job) -> dict[str, Any]:
            with _SongBar(bar, job.source.name) as show:
                report = optimize_file(
                    job.source,
                    stem=job.stem,
                    codec=model,
                    projection=encoder,
                    projection_name=str(projection) if projection else choice.name,
                    settings=wanted,
                    progress=show,
                    **extras,
                )
            row = row_of(asdict(report))
            return {**row, "start_audio": f"{job.stem}.start.wav"} if extras["keep_start"] else row

        batch = run_jobs(current, jobs, work)
    for row in batch.results:
        if row["result"]["stft"] > row["start"]["stft"]:
            current.note(f"note: {row['input']}: under noise that was not searched, the start is better")
    finish(current, batch, *tables(batch.results), skipped=skipped)


class _SongBar:
    """One song's line of the progress display: steps of all its windows, the loss, then the comparison."""

    def __init__(self, bar: Bar, name: str) -> None:
        self.bar, self.name = bar, name

    def __enter__(self) -> _SongBar:
        self.task = self.bar.add_task(f"reading {self.name}", total=None, detail="")
        return self

    def __call__(self, event: Progress) -> None:
        done = event.window * event.steps + event.step
        total = event.windows * event.steps
        doing = "comparing" if done >= total else "optimizing"
        detail = f"window {event.window + 1} of {event.windows}, loss {event.loss:.3f}"
        self.bar.update(self.task, description=f"{doing} {self.name}", completed=done, total=total, detail=detail)

    def __exit__(self, *_: object) -> None:
        self.bar.remove_task(self.task)


def row_of(report: dict[str, Any]) -> dict[str, Any]:
    """A file's row of the JSON: its report, with paths as text and a tier beside each STFT loss."""
    from heartopt.evaluation import tier

    row = {key: str(value) if isinstance(value, Path) else value for key, value in report.items()}
    sides = {side: {**report[side], "tier": tier(report[side]["stft"])} for side in ("start", "result")}
    return {**row, **sides}


def tables(results: list[dict[str, Any]]) -> list[RenderableType]:
    """A small table of each song for a person, start above result, within 80 columns; blank lines between them."""
    return [part for row in results for part in (_table(row), "")]


_HEADINGS = ("tokens", "STFT loss", "tier", "mel\ndistance", "shimmer\n(dB)")
_HEADINGS_OF_RESULT = ("codes\nchanged", "seconds", "real-time\nfactor")


def _table(row: dict[str, Any]) -> Table:
    table = Table(
        title=escape(row["input"]),
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for heading in (*_HEADINGS, *_HEADINGS_OF_RESULT):
        table.add_column(heading, justify="left" if heading in ("tokens", "tier") else "right", no_wrap=True)
    changed = f"{100 * row['codes_changed'] / row['codes']:.0f} %"
    ends: dict[str, tuple[str, ...]] = {"start": (), "result": (changed, f"{row['seconds']:.1f}", f"{row['rtf']:.2f}")}
    for side, end in ends.items():
        found = row[side]
        figures = (f"{found['stft']:.3f}", found["tier"], f"{found['mel']:.3f}", f"{found['shimmer_db']:+.1f}")
        table.add_row(side, *figures, *end)
    return table
