"""Runs over many files: what goes where, which were skipped or failed, and the exit code that follows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from heartopt.cli.console import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_SOME_FAILED,
    Session,
    print_error,
)
from heartopt.errors import ConfigError, HeartoptError, OutputError, is_out_of_memory


@dataclass(frozen=True)
class Job:
    """One input and the path, without suffixes, that its outputs begin with."""

    source: Path
    stem: Path

    def output(self, suffix: str) -> Path:
        return self.stem.with_name(self.stem.name + suffix)


@dataclass(frozen=True)
class Failure:
    """An input that could not be done, and why."""

    source: Path
    error: str


@dataclass(frozen=True)
class Skipped:
    """An input that was left alone, and why."""

    source: Path
    reason: str


@dataclass(frozen=True)
class Batch:
    """How the jobs of a run ended: `results` are their rows; `interrupted`: Ctrl-C came before the last one's end."""

    results: list[dict[str, Any]]
    failures: list[Failure]
    interrupted: bool = False


def plan_jobs(inputs: Iterable[tuple[Path, Path]]) -> list[Job]:
    """Jobs for pairs of (input, its output path without suffixes), all with different outputs.

    Names that differ only in case count as the same: on some file systems they are.

    Raises:
        ConfigError: two inputs would write the same files.
    """
    jobs = [Job(source, stem) for source, stem in inputs]
    writers: dict[str, Path] = {}
    for job in jobs:
        other = writers.setdefault(str(job.stem).casefold(), job.source)
        if other is not job.source:
            raise ConfigError(f"{other} and {job.source} would both write {job.stem}.*: rename one, or use two folders")
    return jobs


def leave_finished(jobs: Iterable[Job], suffix: str) -> tuple[list[Job], list[Skipped]]:
    """The jobs whose output with `suffix` is not there yet, and those that are skipped because it is."""
    todo: list[Job] = []
    skipped: list[Skipped] = []
    for job in jobs:
        if job.output(suffix).is_file():
            skipped.append(Skipped(job.source, f"{job.output(suffix)} is there already"))
        else:
            todo.append(job)
    return todo, skipped


def prepare_output(folder: Path) -> Path:
    """Make the output folder before any work is done for it. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to {folder}: permission denied")
    return folder


def run_jobs(session: Session, jobs: Sequence[Job], work: Callable[[Job], dict[str, Any]]) -> Batch:
    """Do each job until Ctrl-C; one that raises a `HeartoptError` or runs out of memory does not stop the others."""
    results: list[dict[str, Any]] = []
    failures: list[Failure] = []
    for job in jobs:
        try:
            results.append(work(job))
        except HeartoptError as error:
            failures.append(Failure(job.source, " ".join(str(error).split())))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            failures.append(Failure(job.source, session.out_of_memory))
        except KeyboardInterrupt:
            return Batch(results, failures, interrupted=True)
    return Batch(results, failures)


def finish(session: Session, batch: Batch, *renderables: RenderableType, skipped: Sequence[Skipped] = ()) -> None:
    """Give the rows and what was skipped or failed.

    Raises:
        typer.Exit: 130 after Ctrl-C, else 1 if all inputs failed, 3 if some did.
    """
    record = {
        "files": batch.results,
        "skipped": [{"input": str(file.source), "reason": file.reason} for file in skipped],
        "failed": [{"input": str(failure.source), "error": failure.error} for failure in batch.failures],
    }
    session.result(record, *renderables)
    for file in skipped:
        session.note(f"skipped {file.source}: {file.reason}")
    if skipped:
        session.note("pass --overwrite to make skipped files anew")
    for failure in batch.failures:
        named = str(failure.source) in failure.error
        print_error(failure.error if named else f"{failure.source}: {failure.error}")
    done = len(batch.results) + len(skipped)
    if batch.failures and done:
        session.note(f"{len(batch.failures)} of {done + len(batch.failures)} files failed")
    if batch.interrupted:
        session.note("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED)
    if batch.failures:
        raise typer.Exit(EXIT_SOME_FAILED if done else EXIT_FAILED)


def files_table(results: Sequence[dict[str, Any]], key: str) -> list[Table]:
    """The rows of files that were written, for a person: `key` names the file. No table without rows."""
    table = Table()
    table.add_column(key, overflow="fold")
    for name in ("seconds", "frames", "took (s)", "real-time factor"):
        table.add_column(name, justify="right")
    for row in results:
        length = (f"{row['seconds']:.2f}", str(row["frames"]))
        table.add_row(escape(row[key]), *length, f"{row['wall_seconds']:.1f}", f"{row['rtf']:.3f}")
    return [table] if results else []
