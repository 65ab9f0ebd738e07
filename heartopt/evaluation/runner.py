"""`evaluate`: every song of a suite through every system, decoded under judge seeds, measured, summed up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heartopt.audio import SAMPLE_RATE
from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError, HeartoptError
from heartopt.evaluation.results import Evaluation, Failure, Row, differences, summarize
from heartopt.evaluation.suites import Suite, files_suite, load_suite
from heartopt.evaluation.systems import (
    NEED_PROJECTION,
    SYSTEMS,
    Decoding,
    Output,
    Setup,
    Subject,
    check_systems,
    default_systems,
)
from heartopt.metrics import (
    DEFAULT_METRICS,
    TIER_METRIC,
    average,
    check_metrics,
    code_statistics,
    measure,
    tier,
)
from heartopt.optimize import OptimizeSettings
from heartopt.projection import EncoderProjection, check_fits, default_projection
from heartopt.seeding import keyed_generator
from heartopt.version import __version__

JUDGE_SEEDS = (101, 102)


@dataclass(frozen=True)
class Progress:
    """`done` of `total` (file, system) pairs are judged; `file` and `system` come next ("" at the end)."""

    done: int
    total: int
    file: str
    system: str


def evaluate(
    *,
    codec: HeartCodec,
    suite: Suite | str | Path | None = None,
    files: Sequence[str | Path] | None = None,
    systems: Sequence[str] | None = None,
    projection: EncoderProjection | None = None,
    projection_name: str | None = None,
    metrics: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    duration: float | None = None,
    num_steps: int = 10,
    guidance_scale: float = 1.25,
    optimize: OptimizeSettings | None = None,
    seed: int = 0,
    mixdown: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Evaluation:
    """Judge systems on a suite (or on plain files), song by song.

    Tokens are decoded once under each judge seed and each file's metrics are means over them. `wall_seconds`
    is the time that a system took to make its tokens (or its audio, where it makes none), decoding for the
    judge not counted; `rtf` is that over the audio's seconds. A song that cannot be read, and a system that
    fails on a song, go to `failed`, and the rest goes on.

    Args:
        codec: the frozen codec that every system's tokens are decoded with.
        suite: a suite, or the path of its YAML. Give this or `files`.
        files: audio files and folders (searched recursively).
        systems: names of `SYSTEMS`; default: the suite's, else all that are possible.
        projection: where `projection` and `optimized` start; default: the codec's own.
        projection_name: what the report calls it.
        metrics: names of `METRICS`; default: all. Usage and perplexity come with every system that makes tokens.
        seeds: judge seeds; default: the suite's, else `JUDGE_SEEDS`. They share no noise with the optimizer's.
        duration: seconds of the decoder's windows, for all systems; default: the codec's.
        num_steps, guidance_scale: of the decoder, for all systems.
        optimize: settings of `optimized`; its decoder settings are replaced by those above.
        seed: of the controls and of the bootstrap.
        mixdown: for `files`: take more than two channels as their mean.
        progress: called before every pair and at the end.

    Raises:
        ConfigError: unknown or impossible systems or metrics, no seeds, no suite, a damaged suite.
        AudioError: a missing file or a folder without audio.
        CheckpointError: no default projection for this codec, or a projection that does not fit it.
        CodecError: a `duration` that is no multiple of 7.44 s.
    """
    loaded = _suite(suite, files, mixdown)
    possible = default_systems(codec, len(loaded.songs))
    names = tuple(systems or [name for name in loaded.systems or possible if name in possible or name not in SYSTEMS])
    check_systems(names, codec, len(loaded.songs))
    judge = tuple(JUDGE_SEEDS if seeds is None and loaded.seeds is None else seeds or loaded.seeds or ())
    if not judge or len(set(judge)) < len(judge):
        raise ConfigError(f"judge seeds must be one or more different numbers, not {list(judge)}")
    decoding = Decoding(codec.window_plan(duration).seconds, num_steps, guidance_scale)
    start: EncoderProjection | None = None
    if NEED_PROJECTION.intersection(names):
        start = projection or default_projection(codec)
        check_fits(start, codec)
        start = start.to(codec.scalar_device)
    setup = Setup(codec, start, decoding, _with_decoding(optimize, decoding), seed)
    chosen = check_metrics(DEFAULT_METRICS if metrics is None else metrics)
    rows: list[Row] = []
    failed: list[Failure] = []
    for result in _judge(loaded, names, setup, chosen, judge, progress):
        (failed if isinstance(result, Failure) else rows).append(result)  # type: ignore[arg-type]
    return Evaluation(
        suite=loaded.name,
        rows=tuple(rows),
        summary=summarize(rows, seed=seed),
        differences=differences(rows, seed=seed),
        failed=tuple(failed),
        settings=_settings(loaded, names, setup, judge, _projection_name(projection, projection_name)),
    )


def _judge(
    suite: Suite,
    names: Sequence[str],
    setup: Setup,
    metrics: Sequence[str],
    seeds: Sequence[int],
    progress: Callable[[Progress], None] | None,
) -> Iterator[Row | Failure]:
    """A row or a failure for each pair; one failure for a song that cannot be read."""
    tell = progress or (lambda _: None)
    total = len(suite.songs) * len(names)
    for index, song in enumerate(suite.songs):
        neighbour = suite.songs[(index + 1) % len(suite.songs)]
        try:
            target = song.read()
        except HeartoptError as error:
            yield Failure(song.name, None, str(error))
            continue
        subject = Subject(index, target, neighbour.read)
        for position, name in enumerate(names):
            tell(Progress(index * len(names) + position, total, song.name, name))
            try:
                values = _measured(setup, subject, song.name, name, metrics, seeds)
            except HeartoptError as error:
                yield Failure(song.name, name, str(error))
            else:
                yield {"file": song.name, "system": name, **values}
    tell(Progress(total, total, "", ""))


def _measured(
    setup: Setup, subject: Subject, song: str, name: str, metrics: Sequence[str], seeds: Sequence[int]
) -> dict[str, Any]:
    """One row's values: metrics (means over the seeds), tier, statistics of the codes, time."""
    began = time.perf_counter()
    output = SYSTEMS[name](setup, subject)
    wall_seconds = time.perf_counter() - began
    samples = subject.target.shape[-1]
    measured = [
        measure(audio[:, :samples].to(subject.target), subject.target, metrics)
        for audio in _audios(setup, output, song, seeds)
    ]
    values: dict[str, Any] = {metric: average([found[metric] for found in measured]) for metric in metrics}
    if TIER_METRIC in values:
        values["tier"] = tier(values[TIER_METRIC])
    if output.tokens is not None:
        values |= code_statistics(output.tokens, setup.codec.config.codebook_size).metrics()
    seconds = samples / SAMPLE_RATE
    return {**values, "seconds": seconds, "wall_seconds": wall_seconds, "rtf": wall_seconds / seconds}


def _audios(setup: Setup, output: Output, song: str, seeds: Sequence[int]) -> Iterator[Tensor]:
    """The output's own audio; tokens decoded under each judge seed, whose keys are this module's own.

    Every song has noise of its own, the same for all systems. One noise for all songs would move all of them
    together, which no interval over songs sees.
    """
    if output.audio is not None:
        yield output.audio
    if output.tokens is None:
        return
    for seed in seeds:
        with torch.no_grad():
            yield setup.codec.detokenize(
                output.tokens, **asdict(setup.decoding), generator=keyed_generator("evaluate", seed, song)
            )


def _suite(suite: Suite | str | Path | None, files: Sequence[str | Path] | None, mixdown: bool) -> Suite:
    if (suite is None) == (not files):
        raise ConfigError("give a suite or audio files to evaluate, and not both")
    if files:
        return files_suite([Path(file) for file in files], mixdown=mixdown)
    return suite if isinstance(suite, Suite) else load_suite(Path(str(suite)))


def _projection_name(given: EncoderProjection | None, name: str | None) -> str:
    return name or ("the codec's default" if given is None else "a given one")


def _with_decoding(optimize: OptimizeSettings | None, decoding: Decoding) -> OptimizeSettings:
    return replace(optimize or OptimizeSettings(), **asdict(decoding))


def _settings(
    suite: Suite, names: Sequence[str], setup: Setup, seeds: Sequence[int], projection_name: str | None
) -> dict[str, Any]:
    """How it was run, for the report: JSON types only."""
    return {
        "heartopt": __version__,
        "codec": setup.codec.name,
        "fingerprint": setup.codec.fingerprint(),
        "projection": projection_name if setup.projection is not None else None,
        "systems": list(names),
        "songs": len(suite.songs),
        "judge_seeds": list(seeds),
        "decoding": asdict(setup.decoding),
        "optimize": asdict(setup.optimize) if "optimized" in names else None,
        "seed": setup.seed,
        "torch_threads": torch.get_num_threads(),
    }
