"""The options of `heartopt evaluate`: what is judged, what is kept, what is written, and the regression gate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heartopt.cli.options import check_finite

WHAT, RUN, REPORT, GATE = "What is judged", "Running", "Reports", "Regression gate"

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INPUT...]", help="Audio files, folders that are searched for them, or patterns; or give --suite."
    ),
]
SuiteFile = Annotated[
    Path | None,
    typer.Option("--suite", help="Suite of songs and systems.", metavar="FILE.yaml", rich_help_panel=WHAT),
]
Systems = Annotated[
    list[str] | None,
    typer.Option(
        "--systems",
        help="With commas or repeated; default: the suite's, else all that need nothing. Besides names: "
        "projection:FILE, optimize:draft|standard|best, tokens:FOLDER, audio:FOLDER, mp3:KBPS, opus:KBPS, aac:KBPS, "
        "python:MODULE.FUNCTION; LABEL=SYSTEM gives one another name.",
        rich_help_panel=WHAT,
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metrics",
        help="Names (see reports/metrics.md), `default` or `all`, with commas or repeated; default: all but stoi, "
        "visqol and what is measured after deshimmering.",
        rich_help_panel=WHAT,
    ),
]
JudgeSeeds = Annotated[
    list[str] | None,
    typer.Option(
        "--judge-seeds",
        help="Decoding seeds, with commas; default: the suite's, else 101,102.",
        rich_help_panel=WHAT,
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        help="System that differences are taken from; default: the suite's, else projection.",
        metavar="SYSTEM",
        rich_help_panel=WHAT,
    ),
]
Embedder = Annotated[
    str,
    typer.Option(
        "--embedder",
        help="Of the Fréchet audio distance: spectral (no download), MODULE:CLASS, or none.",
        rich_help_panel=WHAT,
    ),
]
Steps = Annotated[
    int, typer.Option("--steps", min=0, help="Steps a window of the system `optimized`.", rich_help_panel=WHAT)
]
NumSteps = Annotated[
    int, typer.Option("--num-steps", min=1, help="Euler steps of the decoder.", rich_help_panel=WHAT)
]
Guidance = Annotated[
    float,
    typer.Option(
        "--guidance", min=0, help="Guidance scale of the decoder.", callback=check_finite, rich_help_panel=WHAT
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", min=1, help="Processes; each holds a codec and a share of the threads.", rich_help_panel=RUN
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Folder that outputs and values are kept in; default: heartopt's cache. Rows that are there are not "
        "computed again, so a run that was stopped goes on.",
        metavar="DIR",
        rich_help_panel=RUN,
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep nothing, find nothing.", rich_help_panel=RUN)]
Resume = Annotated[
    bool, typer.Option("--resume", help="What happens anyway: kept rows are used.", rich_help_panel=RUN)
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        "-o",
        help="Also write Markdown, CSV, JSON and pictures.",
        metavar="DIR",
        rich_help_panel=REPORT,
    ),
]
Page = Annotated[
    Path | None,
    typer.Option(
        "--page", help="Also write a page to listen to, which needs no network.", metavar="FILE.html",
        rich_help_panel=REPORT,
    ),
]  # fmt: skip
PageSongs = Annotated[
    int, typer.Option("--page-songs", min=1, help="Songs on the page: the first ones.", rich_help_panel=REPORT)
]
PageSeconds = Annotated[
    float,
    typer.Option(
        "--page-seconds", min=0.1, help="Seconds of each: the first ones.", callback=check_finite,
        rich_help_panel=REPORT,
    ),
]  # fmt: skip
Plots = Annotated[
    bool,
    typer.Option(
        "--plots",
        help="With -o: spectrograms of the worst song too: original, start, result, difference.",
        rich_help_panel=REPORT,
    ),
]
BaselineFile = Annotated[
    Path | None,
    typer.Option("--baseline", help="Stored run to compare with.", metavar="FILE.json", rich_help_panel=GATE),
]
FailOnRegression = Annotated[
    bool,
    typer.Option("--fail-on-regression", help="Exit with 4 where something is worse.", rich_help_panel=GATE),
]
UpdateBaseline = Annotated[
    bool, typer.Option("--update-baseline", help="Store this run as the baseline.", rich_help_panel=GATE)
]
Tolerance = Annotated[
    list[str] | None,
    typer.Option(
        "--tolerance",
        help="METRIC=NUMBER: up to so much worse passes; METRIC=off: it does not gate. Repeatable.",
        rich_help_panel=GATE,
    ),
]
Junit = Annotated[
    Path | None,
    typer.Option("--junit", help="Also write the verdict as JUnit XML.", metavar="FILE.xml", rich_help_panel=GATE),
]
StepSummary = Annotated[
    Path | None,
    typer.Option(
        "--step-summary",
        help="Append the verdict as Markdown.",
        envvar="GITHUB_STEP_SUMMARY",
        metavar="FILE.md",
        rich_help_panel=GATE,
    ),
]
