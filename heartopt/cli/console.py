"""What the user sees: results on standard output, everything else on standard error, errors as one line."""

from __future__ import annotations

import json
import logging
import math
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TextIO

import typer
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from heartopt.errors import ConfigError, HeartoptError, is_out_of_memory

EXIT_FAILED, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_REGRESSION, EXIT_INTERRUPTED = 1, 2, 3, 4, 130
_PLAIN_WIDTH = 120  # columns where no terminal tells its own
_COMMAND: ContextVar[tuple[str, ...]] = ContextVar("command", default=())
_QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_VERBOSITY": "critical",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "critical",
}


def quiet_environment() -> None:
    """Ask the libraries to be silent, before the first import of them; the user's own settings win."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def remember_command(argv: Sequence[str]) -> None:
    """Keep the arguments of this call for `command_line`."""
    _COMMAND.set(tuple(argv))


def command_line() -> str:
    """The command as it was typed, for cards and reports that say how they were made."""
    return shlex.join(["heartopt", *_COMMAND.get()])


def print_error(message: str) -> None:
    """One line on standard error, whatever line breaks the message holds."""
    print("error:", " ".join(message.split()), file=sys.stderr)


def exit_code(error: HeartoptError) -> int:
    """2 for settings that make no sense, 1 for whatever else failed."""
    return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED


def _console(file: TextIO) -> Console:
    known = file.isatty() or "COLUMNS" in os.environ  # which rich reads
    return Console(file=file, width=None if known else _PLAIN_WIDTH, soft_wrap=False, highlight=False)


@dataclass(frozen=True)
class Session:
    """One command's run: where its result goes and how it tells of its progress.

    `thrift` says how to use less memory, for where that runs out.
    """

    stdout: TextIO
    json_output: bool
    thrift: str

    @property
    def out_of_memory(self) -> str:
        """The message for where memory runs out."""
        return f"out of memory; {self.thrift}"

    def note(self, message: str) -> None:
        """A line for the person who waits, on standard error."""
        print(message, file=sys.stderr)

    @property
    def stderr(self) -> Console:
        """Standard error, for whatever is shown while the command runs."""
        return _console(sys.stderr)

    def progress(self) -> Progress:
        """A progress bar on standard error, with room for a `detail`; nothing where that is no terminal."""
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("elapsed, left"),
            TimeRemainingColumn(),
            console=_console(sys.stderr),
            transient=True,
            disable=not sys.stderr.isatty(),
        )

    def result(self, record: dict[str, Any], *renderables: RenderableType) -> None:
        """The command's result: `record` as the one JSON object, or `renderables` for a person."""
        if self.json_output:
            print(json.dumps(finite(record), indent=2, ensure_ascii=False), file=self.stdout)
        else:
            console = _console(self.stdout)
            for renderable in renderables:
                console.print(renderable)
        self.stdout.flush()


def finite(value: Any) -> Any:
    """`value` with NaN and infinity as None, which JSON can hold, and everything unknown to JSON as text."""
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return finite(value.item()) if hasattr(value, "item") else str(value)


class _Warnings(logging.Handler):
    """heartopt's own warnings, one line each on whatever standard error is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print("warning:", " ".join(record.getMessage().split()), file=sys.stderr)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Warnings and log lines of other libraries go nowhere; heartopt's own go to standard error."""
    root, own = logging.getLogger(), logging.getLogger("heartopt")
    silent, warn = logging.NullHandler(), _Warnings(logging.WARNING)
    root.addHandler(silent)  # with any handler there, logging's "last resort" does not print
    own.addHandler(warn)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        own.removeHandler(warn)
        root.removeHandler(silent)


@contextmanager
def session(json_output: bool, *, thrift: str = "free some, or choose another --device") -> Iterator[Session]:
    """Run a command's body: stray prints go to standard error, libraries keep quiet, errors become one line.

    Raises:
        typer.Exit: 1 or 2 for a `HeartoptError`, 1 where memory runs out (with `--json`, the object is
            `{"error": …}`), 130 for Ctrl-C.
    """
    current = Session(sys.stdout, json_output, thrift)
    try:
        with redirect_stdout(sys.stderr), _quiet_libraries():
            yield current
    except HeartoptError as error:
        _tell(current, str(error))
        raise typer.Exit(exit_code(error)) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _tell(current, current.out_of_memory)
        raise typer.Exit(EXIT_FAILED) from error
    except KeyboardInterrupt as stop:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from stop


def _tell(current: Session, message: str) -> None:
    if current.json_output:
        current.result({"error": " ".join(message.split())})
    print_error(message)
