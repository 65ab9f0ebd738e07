"""What a run leaves to look at: `training.log` for people, `metrics.jsonl` for plots."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from heartopt.errors import OutputError
from heartopt.files import plain, write_text
from heartopt.training.clips import ClipsRecord
from heartopt.training.data import Skipped
from heartopt.training.loop import StepRecord
from heartopt.training.validation import ValidationRecord

LOGGER = logging.getLogger("heartopt.training")
METRICS = "metrics.jsonl"
LOG = "training.log"
SKIPPED = "skipped.tsv"
#: Every so many steps one is written down; validations and skipped steps always are.
EVERY = 10


class _Log(logging.FileHandler):
    """A log that cannot be written (a full disk) is no reason to print a traceback for every line."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextmanager
def log_file(folder: Path, main: bool = True) -> Iterator[None]:
    """Append what `LOGGER` says to `folder/training.log` while the block runs; only the `main` process does.

    If it says nothing, because the input was refused, neither the file nor a folder made for it stays.
    """
    if not main:
        yield
        return
    path = folder / LOG
    made = [parent for parent in (folder, *folder.parents) if not os.path.exists(parent)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = _Log(path, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror or error}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
        LOGGER.removeHandler(handler)
        handler.close()
        with suppress(OSError):  # a folder that holds something stays
            if path.stat().st_size == 0:
                path.unlink()
                for parent in made:
                    parent.rmdir()


class Metrics:
    """`metrics.jsonl`: one JSON object a line; NaN and infinity as null."""

    def __init__(self, folder: Path, *, step: int) -> None:
        """Keep the lines up to `step` (a resumed run writes the later ones again), drop the others."""
        self.path = folder / METRICS
        write_text(self.path, "".join(line + "\n" for line in self._lines() if json.loads(line)["step"] <= step))

    def _lines(self) -> list[str]:
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise OutputError(f"{self.path}: cannot be read ({error}); remove it") from error
        return [line for line in lines if _is_record(line)]

    def write(self, record: StepRecord | ValidationRecord | ClipsRecord) -> None:
        """Append `record`."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(plain(asdict(record)), ensure_ascii=False) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror or error}") from error


def write_skipped(folder: Path, skipped: Sequence[Skipped]) -> None:
    """`skipped.tsv`: the files that are not used and why; also in the log."""
    reasons = [(file.path, " ".join(file.reason.removeprefix(f"{file.path}: ").split())) for file in skipped]
    for path, reason in reasons:
        LOGGER.warning("skipped %s: %s", path, reason)
    lines = ["path\treason", *(f"{path}\t{reason}" for path, reason in reasons)]
    write_text(folder / SKIPPED, "\n".join(lines) + "\n")


def _is_record(line: str) -> bool:
    """False for a line that a crash cut short."""
    try:
        return isinstance(json.loads(line).get("step"), int)
    except (json.JSONDecodeError, AttributeError):
        return False


def note_step(record: StepRecord, metrics: Metrics) -> None:
    """Write a step down where it is due."""
    due = record.step % EVERY == 0 or record.step in (1, record.steps)
    if due or record.skipped:
        metrics.write(record)
    if record.skipped:
        LOGGER.warning("step %d skipped: its loss or gradient is not finite", record.step)
    elif due:
        LOGGER.info(
            "step %d/%d epoch %.2f loss %.4f %s lr %.2e gradient %.3f usage %s %.2f s",
            record.step,
            record.steps,
            record.epoch,
            record.loss,
            " ".join(f"{name} {value:.4f}" for name, value in record.terms.items()),
            record.learning_rate,
            record.gradient_norm,
            "/".join(map(str, record.usage)),
            record.seconds,
        )


def note_validation(record: ValidationRecord, metrics: Metrics) -> None:
    """Write held-out figures down."""
    metrics.write(record)
    LOGGER.info(
        "held out after step %d: flow %.4f commitment %.4f usage %s perplexity %s%s",
        record.step,
        record.flow,
        record.commitment,
        "/".join(map(str, record.usage)),
        "/".join(f"{value:.0f}" for value in record.perplexity),
        " (best)" if record.best else "",
    )


def note_clips(record: ClipsRecord, metrics: Metrics) -> None:
    """Write down what the decoded clips score."""
    metrics.write(record)
    LOGGER.info(
        "clips after step %d: %s (%s)%s",
        record.step,
        " ".join(f"{name} {value:.3f}" for name, value in record.metrics.items() if not isinstance(value, str)),
        record.tier,
        " (best)" if record.best else "",
    )
