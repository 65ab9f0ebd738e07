"""The regression gate of `heartopt evaluate`: its flags, its verdict, and where that is written."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from heartopt.cli.console import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from heartopt.evaluation import Evaluation, Plan
    from heartopt.evaluation.baseline import Baseline
    from heartopt.evaluation.gate import Verdict


@dataclass
class Gate:
    """What was asked for; once `judge` was called, `verdict` holds what was found."""

    path: Path | None
    fail: bool
    update: bool
    tolerances: tuple[str, ...]
    junit: Path | None
    step_summary: Path | None
    verdict: Verdict | None = field(default=None, init=False)
    _baseline: Baseline | None = field(default=None, init=False)
    _chosen: dict[str, float] = field(default_factory=dict, init=False)

    def check_usage(self) -> None:
        """Raises typer.BadParameter for flags that do not go together."""
        if self.path is None and (self.fail or self.update or self.tolerances):
            raise typer.BadParameter("--fail-on-regression, --update-baseline and --tolerance need a --baseline")
        if self.fail and self.update:
            raise typer.BadParameter("--update-baseline accepts what --fail-on-regression would refuse: give one")

    def read(self) -> None:
        """Read the baseline and the tolerances, before any work. Raises HeartoptError."""
        from heartopt.evaluation.gate import parse_tolerances, read_baseline

        self._chosen = parse_tolerances(self.tolerances)
        if self.path is not None and not self.update:
            self._baseline = read_baseline(self.path)

    def check(self, plan: Plan) -> None:
        """Refuse a run that cannot be held against the baseline. Raises ConfigError."""
        if self._baseline is not None:
            settings = plan.settings()
            self._baseline.check_setup(
                suite=plan.suite.name,
                codec=settings["codec"],
                fingerprint=settings["fingerprint"],
                decoding=settings["decoding"],
            )

    def judge(self, found: Evaluation, current: Session) -> Evaluation:
        """Hold the evaluation against the baseline, or store it as one; returns it with its regressions.

        Raises:
            HeartoptError: another run's baseline, or a file that cannot be written.
        """
        from heartopt.evaluation.gate import compare, write_baseline
        from heartopt.report.junit import write_junit
        from heartopt.report.step_summary import append_step_summary

        if self._baseline is not None:
            self.verdict = compare(found, self._baseline, self._chosen)
            found = replace(found, regressions=tuple(asdict(entry) for entry in self.verdict.regressions))
        elif self.path is not None:
            write_baseline(found, self.path, self._chosen or None)
            current.note(f"wrote {self.path}")
        if self.junit is not None:
            write_junit(found, self.junit, self.verdict)
        if self.step_summary is not None:
            append_step_summary(found, self.step_summary, self.verdict)
        return found

    @property
    def failed(self) -> bool:
        """Whether the command is to fail for a regression."""
        return self.fail and self.verdict is not None and bool(self.verdict.regressions)

    @property
    def tables(self) -> list[RenderableType]:
        """The verdict, what got worse, and what else should be known, for a person."""
        from rich.text import Text

        from heartopt.report.gate import regression_table, verdict_line
        from heartopt.report.terminal import as_rich

        if self.verdict is None:
            return []
        worse = bool(self.verdict.regressions)
        parts: list[RenderableType] = [Text(verdict_line(self.verdict), style="red" if worse else "green")]
        if (table := regression_table(self.verdict)) is not None:
            parts.append(as_rich(table))
        return parts + [Text(note) for note in self.verdict.notes]
