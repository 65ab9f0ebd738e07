"""`heartopt optimize`: songs -> the best tokens that the codec's decoder can use, and their sound."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
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
from heartopt.errors import ConfigError

if TYPE_CHECKING:
    from heartopt.optimize import Excerpt, Progress


#: What `--plots` shows of a song's sounds; losses and codes are shown of all of it.
PICTURE_SECONDS = 30.0
#: Steps of the flow phase between decodings for the progress line; only a terminal shows it.
WATCH_EVERY = 20


def optimize(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help=INPUTS_HELP)],
    output_dir: options.OutputOption,
    projection: options.ProjectionOption = None,
    preset: Annotated[
        str, typer.Option("--preset", help="draft, standard or best: from quick to thorough.")
    ] = "standard",
    objective: Annotated[
        str | None, typer.Option("--objective", help="flow, ode or hybrid (flow, then ode); default: the preset's.")
    ] = None,
    quantizer: Annotated[
        str, typer.Option("--quantizer", help="In the loop: straight-through, gumbel, soft or none.")
    ] = "straight-through",
    steps: Annotated[
        int | None, typer.Option("--steps", min=0, help="Optimizer steps a window; default: the preset's.")
    ] = None,
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
    patience: Annotated[
        int | None,
        typer.Option("--patience", min=1, help="End a phase when its loss has not fallen over this many steps."),
    ] = None,
    moves: Annotated[int, typer.Option("--moves", min=0, help="Rounds of moves on single codes at the end.")] = 0,
    init: Annotated[
        list[str] | None,
        typer.Option(
            "--init",
            metavar="START",
            help="projection, random, a token file, or a folder of them; repeated: each window takes the best.",
        ),
    ] = None,
    windows_at_once: Annotated[
        int, typer.Option("--windows-at-once", min=1, help="Windows fitted together, to fill a large device.")
    ] = 1,
    plots: Annotated[
        bool, typer.Option("--plots", help="Also write NAME.optimize.png: spectrograms, losses, moved codes.")
    ] = False,
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
    with session(json_output, thrift="try a smaller --duration, or --windows-at-once 1") as current:
        if steps is not None and budget is not None:
            raise ConfigError("--steps and --budget: give one of them; a budget sets the steps")
        choice = CodecChoice(codec, revision, local_files_only, device, dtype)
        given = {"objective": objective, "steps": steps, "duration": duration}
        settings: dict[str, Any] = {
            **{name: value for name, value in given.items() if value is not None},
            "quantizer": quantizer,
            "budget": budget,
            "patience": patience,
            "moves": moves,
            "windows_at_once": windows_at_once,
            "seed": seed,
        }
        extras = {"mixdown": mixdown, "keep_start": keep_start}
        run(
            current,
            inputs,
            output_dir,
            projection,
            preset=preset,
            settings=settings,
            inits=init or ["projection"],
            plots=plots,
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
    preset: str,
    settings: dict[str, Any],
    inits: list[str],
    plots: bool,
    extras: dict[str, bool],
    overwrite: bool,
    choice: CodecChoice,
) -> None:
    """Optimize every input that has no tokens yet and print the result.

    `settings` are `OptimizeSettings`'s and win over the preset's; `extras` are `optimize_file`'s.
    """
    from heartopt.optimize import PRESETS, OptimizeSettings, optimize_file
    from heartopt.optimize.file import JOURNAL_SUFFIX
    from heartopt.report.figures import need_matplotlib
    from heartopt.tokens import TOKEN_SUFFIX

    if preset not in PRESETS:
        raise ConfigError(f"--preset {preset}: choose from {', '.join(PRESETS)}")
    start = {"start": "random"} if inits == ["random"] else {}
    watched = {"watch_every": WATCH_EVERY if sys.stderr.isatty() else 0}
    wanted = OptimizeSettings(**{**PRESETS[preset], **start, **watched, **settings})
    check_duration(wanted.duration)
    if plots:
        need_matplotlib("an optimization")
    jobs = every = audio_jobs(inputs, output)
    jobs, skipped = (jobs, []) if overwrite else leave_finished(jobs, TOKEN_SUFFIX)
    for finished in set(every) - set(jobs):  # stopped between the tokens and the end of its journal
        journal = finished.output(JOURNAL_SUFFIX)
        if journal.exists() and journal.stat().st_mtime <= finished.output(TOKEN_SUFFIX).stat().st_mtime:
            journal.unlink()
    if not jobs:
        return finish(current, Batch([], []), skipped=skipped)
    starts = {job: [start_of(name, job, output, alone=len(jobs) == 1) for name in inits] for job in jobs}
    prepare_output(output)
    model = choice.load()
    encoder = load_projection(projection, model) if "projection" in inits else None
    with current.progress() as bar:

        def work(job: Job) -> dict[str, Any]:
            picture = job.output(".optimize.png")
            with _SongBar(bar, job.source.name) as show:
                report = optimize_file(
                    job.source,
                    stem=job.stem,
                    codec=model,
                    projection=encoder,
                    projection_name=str(projection) if projection else choice.name,
                    settings=wanted,
                    init=starts[job],
                    excerpt_seconds=PICTURE_SECONDS,
                    show=partial(_draw, picture, job.source.name) if plots else None,
                    progress=show,
                    **extras,
                )
            for note in report.notes:
                current.note(f"note: {job.source}: {note}")
            row = {**row_of(asdict(report)), **({"plot": str(picture)} if plots else {})}
            return {**row, "start_audio": f"{job.stem}.start.wav"} if extras["keep_start"] else row

        batch = run_jobs(current, jobs, work)
    for row in batch.results:
        if row["result"]["stft"] > row["start"]["stft"]:
            current.note(f"note: {row['input']}: under noise that was not searched, the start is better")
    finish(current, batch, *tables(batch.results), skipped=skipped)


def start_of(name: str, job: Job, output: Path, *, alone: bool) -> str | Path:
    """What ``--init name`` means for a song: a folder holds its token file where the output folder would.

    Raises:
        ConfigError: nothing of that name, or one token file for several songs.
    """
    from heartopt.tokens import TOKEN_SUFFIX

    if name in ("projection", "random"):
        return name
    path = Path(name)
    if path.is_dir():
        return path / job.output(TOKEN_SUFFIX).relative_to(output)
    if not path.exists():
        raise ConfigError(f"--init {name}: no such file or folder; or give projection or random")
    if not alone:
        raise ConfigError(f"--init {name}: one token file for several songs; give a folder of token files")
    return path


def _draw(path: Path, title: str, excerpt: Excerpt) -> None:
    from heartopt.report.optimize import draw_optimization

    sounds = {"original": excerpt.original, "start": excerpt.start, "result": excerpt.result}
    draw_optimization(
        path,
        title=title,
        sounds=sounds,
        losses=excerpt.curves,
        start_tokens=excerpt.start_tokens,
        tokens=excerpt.tokens,
    )


class _SongBar:
    """One song's line of the progress display: steps of all its windows, the loss, then the comparison."""

    def __init__(self, bar: Bar, name: str) -> None:
        self.bar, self.name, self.heard = bar, name, ""

    def __enter__(self) -> _SongBar:
        self.task = self.bar.add_task(f"reading {self.name}", total=None, detail="")
        return self

    def __call__(self, event: Progress) -> None:
        done = event.window * event.steps + event.together * event.step
        total = event.windows * event.steps
        doing = "comparing" if done >= total else "optimizing"
        if event.stft is not None:
            self.heard = f", STFT {event.stft:.3f}"
        last = event.window + event.together
        where = f"window {last}" if event.together == 1 else f"windows {event.window + 1}-{last}"
        where, moved = f"{where} of {event.windows}", f"{100 * event.changed:.0f} % of codes moved"
        detail = f"{where}, {event.objective} loss {event.loss:.3f}{self.heard}, {moved}"
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
