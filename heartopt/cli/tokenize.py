"""`heartopt tokenize`: songs -> token files, through an encoder projection."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartopt.cli import options
from heartopt.cli.batch import Batch, Job, files_table, finish, leave_finished, plan_jobs, prepare_output, run_jobs
from heartopt.cli.console import Session, session
from heartopt.cli.loading import CodecChoice, load_projection

if TYPE_CHECKING:
    from heartopt.codec import HeartCodec
    from heartopt.projection import EncoderProjection

INPUTS_HELP = "Audio files, patterns, or folders that are searched."


def tokenize(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help=INPUTS_HELP)],
    output_dir: options.OutputOption,
    projection: options.ProjectionOption = None,
    mixdown: options.MixdownOption = False,
    overwrite: options.OverwriteTokensOption = False,
    codec: options.CodecOption = "mini",
    revision: options.RevisionOption = None,
    local_files_only: options.LocalFilesOption = False,
    device: options.DeviceOption = "auto",
    seed: options.UnusedSeedOption = 0,
    json_output: options.JsonOption = False,
    config: options.ConfigOption = None,
) -> None:
    """Make tokens: write NAME.tokens.npy and NAME.tokens.json for every song."""
    with session(json_output) as current:
        choice = CodecChoice(codec, revision, local_files_only, device)
        extras = {"mixdown": mixdown, "overwrite": overwrite}
        run(current, inputs, output_dir, projection=projection, choice=choice, **extras)


def audio_jobs(inputs: list[Path], output: Path) -> list[Job]:
    """One job for each audio file; folders keep their relative paths.

    Outputs have the file's own name without its suffix: where two files share it, they are refused, since a number
    put to one would depend on what else is there.

    Raises:
        AudioError: a path that is not there, a folder without audio.
        ConfigError: two files for one output.
    """
    from heartopt.audio import find_audio

    found = find_audio(inputs)
    named = ((file.path, file.relative.with_name(file.path.stem)) for file in found)
    return plan_jobs((path, output / name) for path, name in named)


def run(
    current: Session,
    inputs: list[Path],
    output: Path,
    *,
    projection: Path | None,
    mixdown: bool,
    overwrite: bool,
    choice: CodecChoice,
) -> None:
    """Tokenize every input that has no tokens yet and print the result."""
    import torch

    from heartopt.tokens import TOKEN_SUFFIX

    jobs = audio_jobs(inputs, output)
    jobs, skipped = (jobs, []) if overwrite else leave_finished(jobs, TOKEN_SUFFIX)
    if not jobs:
        return finish(current, Batch([], []), skipped=skipped)
    prepare_output(output)
    model = choice.load()
    encoder = load_projection(projection, model)
    label = str(projection) if projection else choice.name
    with current.progress() as bar, torch.inference_mode():
        task = bar.add_task("tokenizing", total=len(jobs), detail="")

        def work(job: Job) -> dict[str, Any]:
            bar.update(task, detail=job.source.name)
            try:
                return tokenize_file(job, model, encoder, label=label, mixdown=mixdown)
            finally:
                bar.advance(task)

        batch = run_jobs(current, jobs, work)
    finish(current, batch, *files_table(batch.results, "tokens"), skipped=skipped)


def tokenize_file(
    job: Job, codec: HeartCodec, projection: EncoderProjection, *, label: str, mixdown: bool
) -> dict[str, Any]:
    """Tokenize one file, write its tokens, return its row. `label` is the projection's name."""
    from heartopt.audio import AudioFile
    from heartopt.projection import tokenize_source
    from heartopt.tokens import TOKEN_SUFFIX, TokenInfo, save_tokens

    started = time.perf_counter()
    with AudioFile(job.source, mixdown=mixdown) as source:
        tokens = tokenize_source(source, codec, projection)
        seconds = source.seconds
    path = job.output(TOKEN_SUFFIX)
    frames = int(tokens.shape[-1])
    info = TokenInfo(
        codec=codec.name,
        fingerprint=codec.fingerprint(),
        projection=label,
        settings={"method": "projection", "mixdown": mixdown},
        frames=frames,
        seconds=seconds,
    )
    save_tokens(path, tokens.cpu(), info)
    wall = time.perf_counter() - started
    return {
        "input": str(job.source),
        "tokens": str(path),
        "seconds": seconds,
        "frames": frames,
        "wall_seconds": wall,
        "rtf": wall / seconds,
    }
