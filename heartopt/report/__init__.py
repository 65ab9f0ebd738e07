"""Evaluations for people and programs: rich tables, Markdown, CSV, JSON."""

from heartopt.report.markdown import markdown
from heartopt.report.terminal import render
from heartopt.report.write import ReportFiles, write_report

__all__ = ["ReportFiles", "markdown", "render", "write_report"]
