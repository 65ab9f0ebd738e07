"""The options that every command takes, and the YAML file that can set any of them."""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import Annotated, Any

import typer

DEVICES = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
DTYPES = ("float32", "bfloat16", "float16")


def _check_device(value: str) -> str:
    if not DEVICES.fullmatch(value):
        raise typer.BadParameter(f"{value!r} is not one of auto, cpu, cuda, cuda:N, mps")
    return value


def _check_dtype(value: str) -> str:
    if value not in DTYPES:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(DTYPES)}")
    return value


def check_finite(value: float | None) -> float | None:
    """For options that take a number: `nan` and `inf` are numbers to Python, but wrong usage here."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def _read_config(path: Path) -> dict[str, Any]:
    """The entries of a YAML file, by dashed name."""
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise typer.BadParameter(f"cannot read {path}: {reason}") from error
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise typer.BadParameter(f"{path} must hold `flag: value` lines")
    return {str(key).replace("_", "-"): value for key, value in entries.items()}


def _apply_config(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values the command's defaults, so that explicit flags win over them."""
    if path is None or ctx.resilient_parsing:
        return path
    names = {
        flag[2:]: (str(param.name), flag in param.secondary_opts)  # those switch it off
        for param in ctx.command.params
        for flag in (*param.opts, *param.secondary_opts)
        if flag.startswith("--") and flag not in ("--help", "--config")
    }
    defaults: dict[str, Any] = {}
    for key, value in _read_config(path).items():
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise typer.BadParameter(f"{path}: heartopt {ctx.info_name} has no flag {key!r}{hint}")
        if isinstance(value, dict):
            raise typer.BadParameter(f"{path}: {key!r} must be a plain value or a list")
        name, off = names[key]
        if off and not isinstance(value, bool | None):
            raise typer.BadParameter(f"{path}: {key!r} must be true or false")
        if value is not None:
            defaults[name] = not value if off else value
    ctx.default_map = defaults
    return path


COMMON = "Common options"

CodecOption = Annotated[
    str,
    typer.Option(
        "--codec",
        "--codec-name",
        help="'mini' (embedded), a folder, or a hub id such as HeartMuLa/HeartCodec-oss-20260123.",
        rich_help_panel=COMMON,
    ),
]
RevisionOption = Annotated[
    str | None,
    typer.Option("--revision", help="Branch, tag or commit of a hub id.", rich_help_panel=COMMON),
]
LocalFilesOption = Annotated[
    bool,
    typer.Option("--local-files-only", help="Never ask the network for a codec.", rich_help_panel=COMMON),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto (cuda where there is one, else cpu), cpu, cuda, cuda:N or mps.",
        callback=_check_device,
        rich_help_panel=COMMON,
    ),
]
DtypeOption = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="Of the flow-matching transformer: float32, bfloat16 or float16.",
        callback=_check_dtype,
        rich_help_panel=COMMON,
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of each random draw.", rich_help_panel=COMMON)]
UnusedSeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="No effect: nothing is drawn.", rich_help_panel=COMMON)
]
UnusedCodecOption = Annotated[
    str,
    typer.Option("--codec", "--codec-name", help="No effect: nothing is decoded.", rich_help_panel=COMMON),
]
UnusedRevisionOption = Annotated[
    str | None, typer.Option("--revision", help="No effect, either.", rich_help_panel=COMMON)
]
UnusedLocalFilesOption = Annotated[
    bool, typer.Option("--local-files-only", help="No effect, either.", rich_help_panel=COMMON)
]
UnusedDeviceOption = Annotated[
    str,
    typer.Option("--device", help="No effect: runs on the CPU.", callback=_check_device, rich_help_panel=COMMON),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="One JSON object on standard output.", rich_help_panel=COMMON),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="YAML file of `flag: value` lines; flags given here win over it.",
        is_eager=True,
        callback=_apply_config,
        metavar="FILE.yaml",
        rich_help_panel=COMMON,
    ),
]

OutputOption = Annotated[
    Path,
    typer.Option("--output-dir", "-o", help="Folder that is written to; made if missing.", metavar="DIR"),
]
ProjectionOption = Annotated[
    Path | None,
    typer.Option("--projection", help="Encoder projection; default: the codec's own.", metavar="FILE"),
]
MixdownOption = Annotated[
    bool,
    typer.Option("--mixdown", help="Mix files of more than two channels down instead of refusing them."),
]
OverwriteTokensOption = Annotated[
    bool,
    typer.Option(
        "--overwrite", "--force", help="Replace tokens that are already there; without it, their songs are skipped."
    ),
]
DurationOption = Annotated[
    float | None,
    typer.Option(
        "--duration",
        help="Seconds of a decoding window, a multiple of 7.44.",
        callback=check_finite,
        metavar="SECONDS",
    ),
]
