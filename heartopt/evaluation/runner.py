"""`evaluate`: every song of a suite through every system, decoded under judge seeds, measured, summed up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError
from heartopt.evaluation import pool
from heartopt.evaluation.corpus import corpus_statistics
from heartopt.evaluation.judging import SongResult, judge_song
from heartopt.evaluation.plan import EMBEDDER, JUDGE_SEEDS, Plan, Request, make_plan
from heartopt.evaluation.results import Evaluation, differences, summarize
from heartopt.evaluation.suites import Suite
from heartopt.evaluation.systems import SystemSpec
from heartopt.metrics.frechet import Embedder
from heartopt.optimize import OptimizeSettings
from heartopt.projection import EncoderProjection

__all__ = ["JUDGE_SEEDS", "Progress", "evaluate", "run_plan"]


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
    systems: Sequence[str | SystemSpec] | None = None,
    projection: EncoderProjection | None = None,
    projection_name: str | None = None,
    metrics: Sequence[str] | None = None,
    against: str | None = None,
    seeds: Sequence[int] | None = None,
    duration: float | None = None,
    num_steps: int = 10,
    guidance_scale: float = 1.25,
    optimize: OptimizeSettings | None = None,
    embedder: str | Embedder | None = EMBEDDER,
    seed: int = 0,
    mixdown: bool = False,
    cache: str | Path | None = None,
    jobs: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> Evaluation:
    """Judge systems on a suite (or on plain files), song by song.

    Tokens are decoded once under each judge seed and each file's metrics are means over them. `wall_seconds`
    is the time that a system took to make its tokens (or its audio, where it makes none), decoding for the
    judge not counted; `rtf` is that over the audio's seconds. A song that cannot be read, and a system that
    fails on a song, go to `failed`, and the rest goes on.

    A song is in memory at a time, beside the codec and what a system needs: about 1 MB for each second of it, and up
    to 600 MB of spectra, which are made of at most 30 s at once.

    Args:
        codec: the frozen codec that every system's tokens are decoded with.
        suite: a suite, or the path of its YAML. Give this or `files`.
        files: audio files, folders (searched recursively) and patterns.
        systems: specs (`heartopt.evaluation.systems.FORMS`, `NAME=SYSTEM` too) or names of the suite's systems;
            default: the suite's, else all of `SYSTEMS` that are possible.
        projection: where `projection`, `optimized` and `optimize:…` start; default: the codec's own.
        projection_name: what the report calls it.
        metrics: names of `METRICS`; default: the suite's, else all. What codes tell comes with every system that
            makes tokens.
        against: the system that paired differences are taken from; default: the suite's, else `projection`.
        seeds: judge seeds; default: the suite's, else `JUDGE_SEEDS`. They share no noise with the optimizer's.
        duration: seconds of the decoder's windows, for all systems; default: the codec's.
        num_steps, guidance_scale: of the decoder, for all systems.
        optimize: settings of `optimized`; its decoder settings are replaced by those above.
        embedder: of the Fréchet audio distance: "spectral", "module:Class", an object; None: leave it out.
        seed: of the controls, of `optimize:…`'s draws where `optimize` is not given, and of the bootstrap.
        mixdown: take more than two channels as their mean, of `files` and of audio folders.
        cache: a folder where outputs and measured values are kept and looked for; None keeps nothing.
        jobs: processes; each holds a codec of its own and a share of torch's threads. With equal threads a process,
            results do not depend on it. Scripts that use more than one need the usual `if __name__ == "__main__":`.
        progress: called before every pair and at the end.

    Raises:
        ConfigError: unknown or impossible systems or metrics, no seeds, no suite, a damaged suite.
        AudioError: a missing file or a folder without audio.
        CheckpointError: no default projection for this codec, or a projection that does not fit it.
        CodecError: a `duration` that is no multiple of 7.44 s.
        HeartoptError: a process of several died.
    """
    request = Request(
        codec=codec,
        suite=suite,
        files=files,
        systems=systems,
        projection=projection,
        projection_name=projection_name,
        metrics=metrics,
        against=against,
        seeds=seeds,
        duration=duration,
        num_steps=num_steps,
        guidance_scale=guidance_scale,
        optimize=optimize,
        embedder=embedder,
        seed=seed,
        mixdown=mixdown,
        cache=cache,
    )
    return run_plan(make_plan(request), jobs=jobs, progress=progress)[0]


def run_plan(
    plan: Plan, *, jobs: int = 1, progress: Callable[[Progress], None] | None = None
) -> tuple[Evaluation, int]:
    """Judge all songs of a plan; also says how many rows nothing had to be computed for. Raises as `evaluate`."""
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}: give at least 1")
    songs, systems = plan.suite.songs, tuple(plan.systems)
    count = _Count(len(songs) * len(systems), progress or (lambda _: None))

    def tell(song: int, system: str) -> None:
        count.tell(song, systems.index(system), songs[song].name, system)

    results: list[SongResult | None] = [None] * len(songs)
    for index, result in _results(plan, jobs, tell):
        results[index] = result
        count.finish(index, len(systems))
    count.end()
    found = [result for result in results if result is not None]
    rows = tuple(row for result in found for row in result.rows)
    evaluation = Evaluation(
        suite=plan.suite.name,
        rows=rows,
        summary=summarize(rows, seed=plan.setup.seed),
        differences=differences(rows, seed=plan.setup.seed, against=plan.against),
        failed=tuple(failure for result in found for failure in result.failed),
        settings=plan.settings(),
        corpus=corpus_statistics(found, systems, plan.setup.codec.config.codebook_size, plan.against),
        songs=tuple(result.song for result in found if result.song is not None),
        against=plan.against,
    )
    return evaluation, sum(result.found for result in found)


def _results(plan: Plan, jobs: int, tell: Callable[[int, str], None]) -> Iterator[tuple[int, SongResult]]:
    count = len(plan.suite.songs)
    if min(jobs, count) > 1:
        yield from pool.judge_songs(plan, jobs, tell)
        return
    for index in range(count):
        yield index, judge_song(plan, index, lambda system: tell(index, system))  # noqa: B023 (called at once)


class _Count:
    """How many pairs are done, song by song: songs of several processes go on side by side."""

    def __init__(self, total: int, progress: Callable[[Progress], None]) -> None:
        self._total, self._progress = total, progress
        self._done: dict[int, int] = {}

    def tell(self, song: int, done: int, file: str, system: str) -> None:
        self._done[song] = done
        self._progress(Progress(sum(self._done.values()), self._total, file, system))

    def finish(self, song: int, systems: int) -> None:
        self._done[song] = systems

    def end(self) -> None:
        self._progress(Progress(self._total, self._total, "", ""))
