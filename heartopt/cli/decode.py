"""`heartopt decode`: token files -> audio, through the codec's own decoder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartopt.cli import options
from heartopt.cli.batch import Job, files_table, finish, plan_jobs, prepare_output, run_jobs
from heartopt.cli.console import Session, session
from heartopt.cli.loading import CodecChoice, check_duration
from heartopt.errors import ConfigError, TokenError

if TYPE_CHECKING:
    from torch import Tensor

    from heartopt.codec import HeartCodec
    from heartopt.tokens import TokenFile

SUFFIX = ".tokens.npy"
INPUTS_HELP = "Token files, or folders that are searched for NAME.tokens.npy."


@dataclass(frozen=True)
class DecodeSettings:
    """How tokens become audio. `duration` None: the window in the tokens' JSON, else the codec's own."""

    steps: int
    guidance: float
    duration: float | None
    seed: int
    any_codec: bool


def decode(
    inputs: Annotated[list[Path], typer.Argument(metavar="TOKENS...", help=INPUTS_HELP)],
    output_dir: options.OutputOption,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Euler steps of the flow.")] = 10,
    guidance: Annotated[
        float, typer.Option("--guidance", min=0, help="Guidance scale; 1 is none.", callback=options.check_finite)
    ] = 1.25,
    duration: options.DurationOption = None,
    any_codec: Annotated[
        bool, typer.Option("--any-codec", help="Go on where the tokens were made for another codec.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace audio files that are already there.")] = False,
    codec: options.CodecOption = "mini",
    revision: options.RevisionOption = None,
    local_files_only: options.LocalFilesOption = False,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = "float32",
    seed: options.SeedOption = 0,
    json_output: options.JsonOption = False,
    config: options.ConfigOption = None,
) -> None:
    """Hear tokens: write NAME.wav for every token file, as long as the song was."""
    with session(json_output, thrift="try a smaller --duration") as current:
        choice = CodecChoice(codec, revision, local_files_only, device, dtype)
        settings = DecodeSettings(steps, guidance, duration, seed, any_codec)
        run(current, inputs, output_dir, settings=settings, overwrite=overwrite, choice=choice)


def find_tokens(inputs: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Token files and their names below the output folder, without suffixes. Raises TokenError."""
    found: list[tuple[Path, Path]] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(_walk(path))
            if not inside:
                raise TokenError(f"{path}: no token files (NAME{SUFFIX}) in this folder")
            found += [(file, file.relative_to(path)) for file in inside]
        elif path.exists():
            found.append((path, Path(path.name)))
        else:
            raise TokenError(f"{path}: no such token file or folder")
    return [(path, name.with_name(_bare(name.name))) for path, name in found]


def _walk(folder: Path) -> Iterator[Path]:
    """Token files below `folder`; links to folders are followed, each folder once."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(root, name) for name in files if name.endswith(SUFFIX) and not name.startswith("."))


def _bare(name: str) -> str:
    return name[: -len(SUFFIX)] if name.endswith(SUFFIX) and name != SUFFIX else Path(name).stem


def decode_jobs(inputs: Iterable[Path], output: Path, *, overwrite: bool) -> list[Job]:
    """One job for each token file.

    Raises:
        TokenError: a path that is not there, a folder without tokens.
        ConfigError: two inputs for one output; an output that is there already, maybe the song itself.
    """
    jobs = plan_jobs((path, output / name) for path, name in find_tokens(inputs))
    for job in jobs:
        if not overwrite and job.output(".wav").exists():
            raise ConfigError(f"{job.output('.wav')} is there already: pass --overwrite, or another folder")
    return jobs


def run(
    current: Session,
    inputs: list[Path],
    output: Path,
    *,
    settings: DecodeSettings,
    overwrite: bool,
    choice: CodecChoice,
) -> None:
    """Decode every input and print the result."""
    import torch

    check_duration(settings.duration)
    jobs = decode_jobs(inputs, output, overwrite=overwrite)
    prepare_output(output)
    model = choice.load()
    with current.progress() as bar, torch.inference_mode():
        task = bar.add_task("decoding", total=None, detail="")

        def work(job: Job) -> dict[str, Any]:
            def show(done: float) -> None:
                bar.update(task, description=f"decoding {job.source.name}", total=1.0, completed=done)

            return decode_file(job, model, settings, show=show)

        batch = run_jobs(current, jobs, work)
    finish(current, batch, *files_table(batch.results, "audio"))


def decode_file(job: Job, codec: HeartCodec, settings: DecodeSettings, *, show: Any) -> dict[str, Any]:
    """Decode one token file block by block, write its audio, return its row; `show` hears the share done."""
    from heartopt.audio import AudioWriter
    from heartopt.tokens import load_tokens

    started = time.perf_counter()
    sizes = codec.config
    file = load_tokens(job.source, num_quantizers=sizes.num_quantizers, codebook_size=sizes.codebook_size)
    if not settings.any_codec:
        check_codec(file, codec, job.source)
    frames = int(file.tokens.shape[-1])
    length = frames * codec.samples_per_code
    if file.info is not None:
        length = min(length, max(1, round(file.info.seconds * sizes.sample_rate)))
    written = 0
    with AudioWriter(job.output(".wav"), channels=2) as writer:
        for block in _blocks(file, codec, settings):
            block = block[0, :, : length - written]
            writer.write(block.cpu())
            written += block.shape[-1]
            show(written / length)
    wall = time.perf_counter() - started
    seconds = length / sizes.sample_rate
    return {
        "tokens": str(job.source),
        "audio": str(job.output(".wav")),
        "seconds": seconds,
        "frames": frames,
        "wall_seconds": wall,
        "rtf": wall / seconds,
    }


def _blocks(file: TokenFile, codec: HeartCodec, settings: DecodeSettings) -> Iterator[Tensor]:
    import torch

    noted = file.info.settings.get("duration") if file.info is not None else None
    duration = settings.duration or (noted if isinstance(noted, (int, float)) else None)
    return codec.detokenize_stream(
        file.tokens[None],
        duration=duration,
        num_steps=settings.steps,
        guidance_scale=settings.guidance,
        generator=torch.Generator().manual_seed(settings.seed),
    )


def check_codec(file: TokenFile, codec: HeartCodec, path: Path) -> None:
    """Raises TokenError where the tokens' JSON names another codec than the one that would decode them."""
    if file.info is not None and file.info.fingerprint != codec.fingerprint():
        raise TokenError(
            f"{path}: made for codec {file.info.codec} ({file.info.fingerprint[:12]}), not for {codec.name} "
            f"({codec.fingerprint()[:12]}); pass that --codec, or --any-codec to decode all the same"
        )
