"""A training run's curves as a picture beside its log: loss, quality and codes against what the report expects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from heartopt.files import sha256_of
from heartopt.report.figures import need_matplotlib, rows_of, save_figure
from heartopt.training.curves import make_figure
from heartopt.training.history import read_history


def draw_run(log: Path) -> Path:
    """Draw a run's `metrics.jsonl` into the PNG file of the same stem, atomically; returns its path.

    Raises:
        HeartoptError: matplotlib is not installed, or the log cannot be read.
        OutputError: the picture cannot be written.
    """
    need_matplotlib("a run's curves")
    picture = log.with_suffix(".png")
    save_figure(make_figure(read_history(log)), picture, rows=sha256_of(log))
    return picture


def stale_curves(log: Path) -> Iterator[str]:
    """A line where the picture was not drawn from this log, and what to do. Raises HeartoptError."""
    picture = log.with_suffix(".png")
    digest = sha256_of(log)
    if not picture.is_file() or rows_of(picture) != digest:
        yield f"{picture}: was not drawn from {log}; run `python -m heartopt.report {log}`"
