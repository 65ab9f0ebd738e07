"""Evaluations with a cache: what is not done again, and what is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from heartopt.codec import HeartCodec
from heartopt.evaluation import Evaluation, Request, SystemSpec, judging, make_plan, outputs, run_plan
from heartopt.projection import EncoderProjection, save_projection

CALLS = """
import torch
def note(song, what):
    with open("calls.txt", "a") as file:
        file.write(f"{what} {song.name}\\n")
def tokens(song, **settings):
    note(song, "tokens")
    draw = torch.Generator().manual_seed(song.seed)
    return torch.randint(1024, (8, -(-song.audio.shape[-1] // 3840)), generator=draw)
def audio(song):
    note(song, "audio")
    return song.audio * 0.5
"""


class Bench:
    """Runs evaluations of two songs by two counted systems."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.found = 0

    def run(self, **changes: Any) -> Evaluation:
        evaluation, self.found = run_plan(make_plan(replace(self.request, **changes)))
        assert not evaluation.failed
        return evaluation

    def calls(self) -> list[str]:
        """The systems' calls since the last look."""
        file = Path("calls.txt")
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines


@pytest.fixture
def bench(quick: HeartCodec, module: Callable[[str], str], songs: Path, tmp_path: Path) -> Bench:
    name = module(CALLS)
    systems = [f"t=python:{name}.tokens", f"a=python:{name}.audio"]
    fast = {"metrics": ["si_sdr"], "seeds": [1, 2], "embedder": None}
    return Bench(Request(codec=quick, files=[songs], systems=systems, cache=tmp_path / "cache", **fast))


def plain(evaluation: Evaluation) -> dict[str, Any]:
    """All but what another run cannot repeat."""
    record = evaluation.to_json()
    times = ("wall_seconds", "rtf", "tokens_per_second", "peak_mb")
    record["rows"] = [{key: value for key, value in row.items() if key not in times} for row in record["rows"]]
    for key in ("summary", "differences"):
        record[key] = [entry for entry in record[key] if entry["metric"] not in times]
    return record


ALL = ["tokens a.wav", "audio a.wav", "tokens b.flac", "audio b.flac"]


def test_a_second_run_does_nothing_and_says_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.request = replace(bench.request, embedder="spectral")
    without = plain(bench.run(cache=None))
    assert bench.calls() == ALL
    first = bench.run()
    assert bench.calls() == ALL and bench.found == 0
    monkeypatch.setattr(judging, "measure", lambda *_: pytest.fail("something was measured"))
    monkeypatch.setattr(outputs.SongAudio, "target", property(lambda _: pytest.fail("a song was read")))
    again = bench.run()
    assert bench.calls() == [] and bench.found == 4
    assert again.to_json() == first.to_json()  # times too: they are those of the run that made it
    assert plain(again) == without


def test_a_new_metric_does_not_make_tokens_again(bench: Bench) -> None:
    bench.run()
    bench.calls()
    more = bench.run(metrics=["si_sdr", "mel"])
    assert bench.calls() == ["audio a.wav", "audio b.flac"]  # audio is not kept
    assert all("mel" in row for row in more.rows)
    fewer = bench.run(metrics=["mel"])
    assert bench.calls() == [] and bench.found == 4
    assert [row["mel"] for row in fewer.rows] == [row["mel"] for row in more.rows]


def test_what_changes_the_sound_measures_again_and_what_changes_the_system_makes_again(bench: Bench) -> None:
    first = bench.run()
    bench.calls()
    other = bench.run(seeds=[3])
    assert bench.calls() == [] and other.rows[0]["si_sdr"] != first.rows[0]["si_sdr"]
    bench.run(num_steps=2)
    assert bench.calls() == []  # tokens stay; audio does not hang on the decoder
    assert bench.found == 2
    bench.run(seed=5)
    assert bench.calls() == ALL


def test_another_content_under_the_same_name_is_another_song(bench: Bench, songs: Path) -> None:
    bench.run()
    bench.calls()
    audio, rate = soundfile.read(songs / "a.wav")
    soundfile.write(songs / "a.wav", audio * 0.5, rate)
    bench.run()
    assert bench.calls() == ALL[:2]


def test_another_version_of_the_code_makes_all_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run()
    bench.calls()
    monkeypatch.setattr(judging, "measured_version", lambda: "other metrics")
    bench.run()
    assert bench.calls() == ["audio a.wav", "audio b.flac"] and bench.found == 0
    monkeypatch.setattr(outputs, "outputs_version", lambda: "other systems")
    bench.run()
    assert bench.calls() == ALL


def test_damaged_entries_are_made_again(bench: Bench, tmp_path: Path) -> None:
    first = bench.run()
    bench.calls()
    for file in (tmp_path / "cache").rglob("*.*"):
        file.write_bytes(file.read_bytes()[:-9])
    again = bench.run()
    assert sorted(bench.calls()) == sorted(ALL) and plain(again) == plain(first)
    bench.run()
    assert bench.calls() == []


def test_a_run_that_was_stopped_goes_on(bench: Bench) -> None:
    plan = make_plan(bench.request)

    def stop(event: Any) -> None:
        if event.file == "b.flac" and event.system == "a":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, progress=stop)
    assert bench.calls() == ALL[:3]
    bench.run()
    assert bench.calls() == ALL[3:] and bench.found == 3


def test_words_are_not_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed later gives its numbers."""
    real = judging.measure
    missing = {"si_sdr": "not installed"}
    monkeypatch.setattr(judging, "measure", lambda *args: {**real(*args), **missing})
    assert bench.run().rows[0]["si_sdr"] == "not installed"
    monkeypatch.setattr(judging, "measure", real)
    assert isinstance(bench.run().rows[0]["si_sdr"], float)


def test_a_function_s_settings_and_a_projection_s_weights_count(
    bench: Bench, projection: EncoderProjection, tmp_path: Path
) -> None:
    spec = bench.request.systems[0].partition("=")[2]
    for settings in ({"a": 1}, {"a": 2}):
        bench.run(systems=[SystemSpec("t", spec, settings)])
        assert len(bench.calls()) == 2
    file = tmp_path / "own.safetensors"
    rows = []
    for scale in (1.0, 2.0, 1.0):
        copied = EncoderProjection(**_like(projection))
        copied.load_state_dict({name: scale * value for name, value in projection.state_dict().items()})
        save_projection(copied, file, {})
        rows.append(bench.run(systems=[f"own=projection:{file}"]).rows)
        assert bench.found == (2 if len(rows) == 3 else 0)
    assert rows[0] == rows[2] and rows[0][0]["si_sdr"] != rows[1][0]["si_sdr"]


def _like(projection: EncoderProjection) -> dict[str, Any]:
    return {name: projection.settings[name] for name in ("latent_dim", "output_dim", "hidden_dim", "projection_type")}


def test_tokens_are_kept_as_plain_arrays(bench: Bench, tmp_path: Path) -> None:
    bench.run()
    shapes = {np.load(file, allow_pickle=False).shape for file in (tmp_path / "cache/outputs").rglob("*.npy")}
    assert shapes == {(8, 9), (8, 7)}
