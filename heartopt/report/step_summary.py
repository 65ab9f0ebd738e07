"""An evaluation as the summary of a step on GitHub: Markdown that a run's page shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from heartopt.errors import OutputError
from heartopt.evaluation import Evaluation
from heartopt.evaluation.gate import Verdict
from heartopt.metrics import TIER_METRIC
from heartopt.report.gate import comparison_table, verdict_line
from heartopt.report.markdown import escape, markdown_table
from heartopt.report.tables import summary_table

MOST_ROWS = 100  # of what got worse, and of what failed: a summary of over 1 MiB is dropped as a whole


def append_step_summary(evaluation: Evaluation, path: str | Path, verdict: Verdict | None = None) -> None:
    """Append `step_summary` to the file: a step's commands share one, which is there already.

    Raises:
        OutputError: `path` cannot be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(step_summary(evaluation, verdict))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def step_summary(evaluation: Evaluation, verdict: Verdict | None = None) -> str:
    """The gate's verdict (where there is one) and what got worse by how much; then the means; what failed."""
    return "\n\n".join([f"## heartopt evaluate: {escape(evaluation.suite)}", *_parts(evaluation, verdict)]) + "\n\n"


def _parts(evaluation: Evaluation, verdict: Verdict | None) -> Iterator[str]:
    if verdict is not None:
        regressions = verdict.regressions
        yield f"{'❌' if regressions else '✅'} **{escape(verdict_line(verdict))}**"
        if regressions:
            yield markdown_table(comparison_table(regressions[:MOST_ROWS], ""))
            yield from _rest(len(regressions))
        if verdict.notes:
            yield "\n".join(f"- {escape(note)}" for note in verdict.notes)
    if evaluation.failed:
        lines = (f"- {escape(e.file)} ({escape(e.system or 'the song')}): {escape(e.error)}" for e in evaluation.failed)
        yield f"{len(evaluation.failed)} could not be judged:"
        yield "\n".join(list(lines)[:MOST_ROWS])
        yield from _rest(len(evaluation.failed))
    if evaluation.rows and not (verdict and verdict.regressions):
        means = summary_table(evaluation, intervals=(TIER_METRIC,))
        yield f"{escape(means.title)}:"
        yield markdown_table(means)


def _rest(count: int) -> Iterator[str]:
    if count > MOST_ROWS:
        yield f"… and {count - MOST_ROWS} more."
