"""The gate on real runs of the embedded codec: it fails on a worse system and holds on an equal one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from heartopt.codec import HeartCodec
from heartopt.evaluation import Evaluation, Song, Suite, evaluate
from heartopt.evaluation.baseline import Baseline, write_baseline
from heartopt.evaluation.gate import FILES, compare
from heartopt.projection import EncoderProjection

EXCERPTS = Path(__file__).parents[2] / "benchmarks/suites/excerpts"
SONGS = tuple(
    Song(f"{name} {start}", EXCERPTS / f"{name}.flac", start=start, seconds=1.0)
    for name in ("nebula", "a-new-journey", "living-caves")
    for start in (1.0, 5.0)
)
METRICS = ("stft", "mel", "mel_multi", "lsd", "si_sdr", "loudness_db", "shimmer_db")
Judge = Callable[..., Evaluation]


@pytest.fixture(scope="module")
def judge(codec: HeartCodec) -> Judge:
    """Judge a projection, by default the codec's own, or another system, under a judge seed."""

    def run(seed: int, projection: EncoderProjection | None = None, system: str = "projection") -> Evaluation:
        found = evaluate(
            codec=codec,
            suite=Suite("excerpts", SONGS),
            systems=[system],
            projection=projection,
            metrics=METRICS,
            seeds=[seed],
            num_steps=2,
            guidance_scale=1.0,
            embedder=None,
        )
        assert not found.failed and len(found.rows) == len(SONGS)
        return found

    return run


@pytest.fixture(scope="module")
def good(judge: Judge) -> Evaluation:
    return judge(1)


@pytest.fixture
def baseline(good: Evaluation, tmp_path: Path) -> Baseline:
    return write_baseline(good, tmp_path / "baseline.json")


def test_it_holds_on_an_equal_projection_under_other_noise(
    judge: Judge, good: Evaluation, baseline: Baseline, tmp_path: Path
) -> None:
    now = judge(2)
    found = compare(now, baseline)
    assert {entry.metric for entry in found.comparisons} == {FILES, *METRICS}
    changed = [entry.metric for entry in found.comparisons if entry.worse_by != 0]
    assert {"stft", "mel", "lsd"} <= set(changed)  # it is other noise indeed
    assert found.regressions == ()
    # and the other way round: it is not that the second run happened to be the better one
    assert compare(good, write_baseline(now, tmp_path / "other.json")).regressions == ()


def test_it_fails_on_a_worse_projection(judge: Judge, baseline: Baseline, projection: EncoderProjection) -> None:
    """The `projection` of these tests is untrained."""
    found = {entry.metric: entry for entry in compare(judge(2, projection), baseline).regressions}
    assert {"stft", "mel", "mel_multi"} <= set(found) and FILES not in found
    for entry in found.values():
        assert entry.files == len(SONGS) and entry.low > 0 and entry.worse_by > entry.tolerance


def test_it_fails_where_more_is_better(judge: Judge, tmp_path: Path) -> None:
    baseline = write_baseline(judge(1, system="coder=mp3:192"), tmp_path / "b.json")
    assert compare(judge(1, system="coder=mp3:320"), baseline).regressions == ()
    found = {entry.metric: entry for entry in compare(judge(1, system="coder=mp3:48"), baseline).regressions}
    assert found["si_sdr"].now < found["si_sdr"].baseline - 1 and found["si_sdr"].worse_by > 1
