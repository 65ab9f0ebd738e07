"""`heartopt optimize`: songs -> the best tokens that the codec's decoder can use, and what they sound like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from heartopt.cli import options
from heartopt.cli.batch import Job, finish, prepare_output, run_jobs
from heartopt.cli.console import Session, session
from heartopt.cli.loading import CodecChoice, load_projection
from heartopt.cli.tokenize import INPUTS_HELP, audio_jobs


def optimize(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help=INPUTS_HELP)],
    output_dir: options.OutputOption,
    projection: options.ProjectionOption = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimization steps of each window.")] = 200,
    budget: Annotated[
        float | None, typer.Option("--budget", min=0.0, help="Seconds a song may take.", metavar="SECONDS")
    ] = None,
    duration: options.DurationOption = None,
    mixdown: options.MixdownOption = False,
    codec: options.CodecOption = "mini",
    revision: options.RevisionOption = None,
    local_files_only: options.LocalFilesOption = False,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "float32",
    seed: options.SeedOption = 0,
    json_output: options.JsonOption = False,
    config: options.ConfigOption = None,
) -> None:
    """Refine tokens: write NAME.tokens.npy, NAME.tokens.json and NAME.optimized.wav for every song."""
