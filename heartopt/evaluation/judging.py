"""One song through every system: outputs made or found, decoded under the judge seeds, measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from heartopt.audio import SAMPLE_RATE
from heartopt.errors import HeartoptError, is_out_of_memory
from heartopt.evaluation.cache import number
from heartopt.evaluation.code_version import measured_version
from heartopt.evaluation.outputs import SongAudio, SystemOutput
from heartopt.evaluation.plan import Plan
from heartopt.evaluation.results import Failure, Row
from heartopt.evaluation.systems import Place
from heartopt.evaluation.systems.custom import source_digest
from heartopt.metrics import TIER_METRIC, CodeStatistics, average, code_statistics, measure, tier
from heartopt.metrics.frechet import Embedder, GaussianFit

OUT_OF_MEMORY = "out of memory; try a smaller --duration, fewer --jobs, or an excerpt of the song"
#: What a song is called among the fits of `SongResult`.
OWN = ""


@dataclass
class SongResult:
    """What one song gave; a process can send it to another.

    Attributes:
        rows, failed: one a system.
        song: its record for `Evaluation.songs`; None where it could not be read.
        tokens: `[K, F]` of each system that makes tokens.
        fits: of the embeddings of each system's sound, and of the song's own under `OWN`.
        found: how many rows nothing had to be computed for.
    """

    rows: list[Row] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    song: dict[str, Any] | None = None
    tokens: dict[str, Tensor] = field(default_factory=dict)
    fits: dict[str, GaussianFit] = field(default_factory=dict)
    found: int = 0


def judge_song(plan: Plan, index: int, tell: Callable[[str], None]) -> SongResult:
    """Judge one song by all systems; `tell` is called with each system's name before its turn.

    In memory are the song, one system's sound of it, and what the system itself needs.
    """
    place, result = plan.place(index), SongResult()
    name = place.song.name
    audio = SongAudio(plan, place)

    def own_sound() -> None:
        result.song = _song_record(place, audio.samples)
        if plan.embedder is not None:
            result.fits[OWN] = _fit(plan, plan.embedder, place.song.identity(), lambda: audio.target)

    if error := _attempt(own_sound):
        result.failed.append(Failure(name, None, error))
        return result
    for system in plan.systems:
        tell(system)
        if error := _attempt(lambda: _judge(plan, audio, system, result)):  # noqa: B023 (called at once)
            result.failed.append(Failure(name, system, error))
    return result


def _attempt(work: Callable[[], None]) -> str:
    """Do some work; why it failed, in one line, "" if it did not."""
    try:
        work()
    except HeartoptError as error:
        return " ".join(str(error).split())
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return OUT_OF_MEMORY
    return ""


def _judge(plan: Plan, audio: SongAudio, system: str, result: SongResult) -> None:
    """Add one system's row, tokens and embeddings to the result. Raises HeartoptError, and adds nothing then."""
    made = SystemOutput(plan, audio, system)
    place, fit, fresh, parts = audio.place, GaussianFit(), False, []
    for seed in plan.seeds if made.has_tokens else (None,):
        sound = _Sound(made, seed)
        values = _measured(plan, place, audio, made, sound)
        parts.append(values)
        if plan.embedder is not None:
            fit.merge(_fit(plan, plan.embedder, _sound_key(plan, place, made, seed), sound.audio))
        fresh = fresh or sound.heard
    tokens = made.output.tokens
    row: dict[str, Any] = {"file": place.song.name, "system": system}
    row |= {metric: average([part[metric] for part in parts]) for metric in plan.metrics}
    if TIER_METRIC in row:
        row["tier"] = tier(row[TIER_METRIC])
    codes = None if tokens is None else code_statistics(tokens, plan.setup.codec.config.codebook_size)
    row |= {} if codes is None else codes.metrics()
    row |= _cost(made, audio.samples / SAMPLE_RATE, codes)
    if made.output.note:
        row["note"] = made.output.note
    result.rows.append(row)
    result.found += made.found and not fresh
    if tokens is not None:
        result.tokens[system] = tokens.cpu()
    if plan.embedder is not None:
        result.fits[system] = fit


class _Sound:
    """An output's sound under one seed, made when it is needed and only once."""

    def __init__(self, made: SystemOutput, seed: int | None) -> None:
        self._made, self.seed = made, seed
        self._audio: Tensor | None = None

    @property
    def heard(self) -> bool:
        """Whether it was needed."""
        return self._audio is not None

    def audio(self) -> Tensor:
        if self._audio is None:
            self._audio = self._made.sound(self.seed)
        return self._audio


def _measured(
    plan: Plan, place: Place, audio: SongAudio, made: SystemOutput, sound: _Sound
) -> dict[str, float | str]:
    """All metrics of one sound: those that are kept, and the others measured and kept too.

    A word in place of a number ("not installed") is not kept: the next run may have the package.
    """
    key = _sound_key(plan, place, made, sound.seed)
    entry = plan.store.find("measured", key)
    values: dict[str, float | str] = {}
    if entry is not None:
        values = {name: number(value) for name, value in entry.record.items()}
    if missing := [name for name in plan.metrics if name not in values]:
        values |= measure(sound.audio(), audio.reference, missing)
        numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
        plan.store.keep("measured", key, numbers)
    return values


def _sound_key(plan: Plan, place: Place, made: SystemOutput, seed: int | None) -> dict[str, Any]:
    """What a sound and whatever is measured of it depend on; of the decoder's noise the song's name is a part."""
    decoded = {"seed": seed, "name": place.song.name, **asdict(plan.setup.decoding)} if made.has_tokens else None
    return {"output": made.digest, "decoded": decoded, "version": measured_version()}


def _fit(
    plan: Plan, embedder: Embedder, sound_key: Mapping[str, Any], sound: Callable[[], Tensor]
) -> GaussianFit:
    """Mean and covariance of a sound's embeddings, which are kept. Raises HeartoptError."""
    key = {
        "sound": dict(sound_key),
        "embedder": embedder.name,
        "source": source_digest(type(embedder)),
        "version": measured_version(),
    }
    entry, fit = plan.store.find("embeddings", key), GaussianFit()
    try:
        if entry is not None and entry.array is not None:
            fit.add(torch.from_numpy(entry.array))
        else:
            embeddings = embedder.embed(sound())
            fit.add(embeddings)
            plan.store.keep("embeddings", key, {}, embeddings.detach().cpu().numpy())
    except HeartoptError:
        raise
    except Exception as error:  # whatever somebody's embedder raises
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise HeartoptError(f"embedder {embedder.name} failed: {reason}") from error
    return fit


def _cost(made: SystemOutput, seconds: float, codes: CodeStatistics | None) -> dict[str, float]:
    """The row's columns of time, memory and bitrate, as far as they are known."""
    output, cost = made.output, made.cost
    row = {"seconds": seconds}
    if output.timed:
        row |= {"wall_seconds": cost.wall_seconds, "rtf": cost.wall_seconds / seconds}
        if codes is not None:
            count = codes.frames * len(codes.used)
            row["tokens_per_second"] = count / cost.wall_seconds if cost.wall_seconds > 0 else math.nan
        row["peak_mb"] = cost.peak_mb
    kbps = output.kbps if codes is None else codes.nominal_kbps
    return row if math.isnan(kbps) else {**row, "kbps": kbps}


def _song_record(place: Place, samples: int) -> dict[str, Any]:
    song = place.song
    known = {key: song.details[key] for key in ("title", "author", "licence") if key in song.details}
    where = {"seconds": samples / SAMPLE_RATE, "sha256": song.digest, "start": song.start}
    return {"file": song.name, **where, **known}
