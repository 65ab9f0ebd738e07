"""`heartopt doctor`: what could stop a training run, found before it starts."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from heartopt.cli import options
from heartopt.cli.console import EXIT_FAILED, Session, print_error, session

if TYPE_CHECKING:
    from heartopt.doctor import Check, Status

_COLOURS: dict[Status, str] = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


def doctor(
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Folder of songs, or a list of them (.txt, .tsv).", metavar="PATH"),
    ] = None,
    val_dir: Annotated[
        Path | None, typer.Option("--val-dir", help="Held-out songs, in the same way.", metavar="PATH")
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Folder that train would write to; not made here.", metavar="DIR"),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option("--cache-dir", help="Of latents; default $HEARTOPT_CACHE or ~/.cache/heartopt.", metavar="DIR"),
    ] = None,
    codec: options.CodecOption = "mini",
    revision: options.RevisionOption = None,
    local_files_only: options.LocalFilesOption = False,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "float32",
    seed: options.SeedOption = 0,
    json_output: options.JsonOption = False,
    config: options.ConfigOption = None,
) -> None:
    """Check programs, machine, codec, songs and folders before a training run; exit code 1 if a check failed."""
    settings = {key: value for key, value in locals().items() if key not in ("json_output", "config")}
    with session(json_output) as current:
        run(current, settings)


def run(current: Session, settings: dict[str, Any]) -> None:
    """Examine, print the findings. Raises typer.Exit 1 where a check failed."""
    from heartopt.doctor import examine

    with current.progress() as bar:
        task = bar.add_task("examining", total=None, detail="")

        def told(what: str, done: int) -> None:
            bar.update(task, description=what, detail=f"{done} files" if done else "")

        checks = examine(**settings, progress=told)
    failed = [check for check in checks if check.status == "failed"]
    record = {"checks": [asdict(check) for check in checks], "ok": not failed}
    current.result(record, table(checks), Text(_count(checks)))
    for check in failed:
        print_error(f"{check.name}: {check.detail}")
    if failed:
        raise typer.Exit(EXIT_FAILED)


def table(checks: list[Check]) -> Table:
    """A row for each check, with its remedy on a line of its own. File names are never taken for markup."""
    result = Table(box=SIMPLE, padding=(0, 1, 0, 0), show_edge=False)
    for heading in ("check", "result"):
        result.add_column(heading, no_wrap=True)
    result.add_column("finding", overflow="fold")
    for check in checks:
        finding = Text(check.detail)
        if check.remedy:
            finding.append(f"\n→ {check.remedy}", style="italic")
        result.add_row(check.name, Text(check.status, style=_COLOURS[check.status]), finding)
    return result


def _count(checks: list[Check]) -> str:
    """As "12 checks: 10 ok, 2 warnings"."""
    counts = Counter(check.status for check in checks)
    plural = {"warning": "s" * (counts["warning"] > 1)}
    words = [f"{counts[status]} {status}{plural.get(status, '')}" for status in _COLOURS if counts[status]]
    return f"{len(checks)} checks: {', '.join(words)}"
