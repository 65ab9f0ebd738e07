"""What rows hold, and what becomes of whatever cannot be judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.errors import HeartoptError
from heartopt.evaluation import Evaluation, evaluate, judging
from heartopt.evaluation.suites import Song, Suite
from heartopt.metrics import code_statistics
from heartopt.tokens import TokenInfo, save_tokens

Judge = Callable[..., Evaluation]
HOSTILE = "<img onerror=alert(1)>|[red]&\"'.wav"


@pytest.fixture
def judge(quick: HeartCodec, songs: Path) -> Judge:
    def run(systems: Sequence[str], **changes: Any) -> Evaluation:
        given: dict[str, Any] = {"files": [songs], "metrics": ["si_sdr"], "embedder": None, "seeds": [1, 2]}
        return evaluate(codec=quick, systems=systems, **{**given, **changes})

    return run


def only(evaluation: Evaluation) -> dict[str, Any]:
    assert not evaluation.failed
    (row,) = evaluation.rows
    return dict(row)


def test_costs_and_codes_of_tokens_and_of_audio(
    judge: Judge, module: Callable[[str], str], songs: Path, quick: HeartCodec
) -> None:
    name = module(
        "import time, torch\n"
        "def tokens(song):\n    time.sleep(0.05)\n    return torch.arange(8 * 7).reshape(8, 7)\n"
    )
    found = judge([f"t=python:{name}.tokens", "opus:64", "silence"], files=[songs / "b.flac"])
    tokens, opus, silence = found.rows
    assert tokens["seconds"] == 0.5 and 0.05 <= tokens["wall_seconds"] < 30
    assert tokens["rtf"] == pytest.approx(tokens["wall_seconds"] / 0.5)
    assert tokens["tokens_per_second"] == pytest.approx(56 / tokens["wall_seconds"])
    assert tokens["kbps"] == pytest.approx(8 * 10 * 12.5 / 1000)  # 8 levels of 1024 codes
    codes = code_statistics(torch.arange(56).reshape(8, 7), quick.config.codebook_size).metrics()
    assert {key: tokens[key] for key in codes} == codes
    assert 20 < opus["kbps"] < 150 and "kbps" not in silence
    for row in (opus, silence):
        assert {"wall_seconds", "rtf", "peak_mb"} <= set(row) and "tokens_per_second" not in row and "usage" not in row


def test_somebody_s_files_cost_nothing_here_and_say_what_was_done(
    judge: Judge, songs: Path, tmp_path: Path, quick: HeartCodec
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    audio, _ = soundfile.read(songs / "b.flac")
    soundfile.write(out / "b.wav", audio[:-240, :1], 48_000)
    tokens = torch.zeros(8, 8, dtype=torch.int64)
    save_tokens(out / "b.tokens.npy", tokens, TokenInfo("mini", quick.fingerprint(), None, {}, 8, 0.64))
    found = judge([f"sound=audio:{out}", f"codes=tokens:{out}"], files=[songs / "b.flac"])
    sound, codes = found.rows
    assert sound["note"] == "mono, taken for both channels; 5.0 ms shorter, silence at its end"
    assert codes["note"] == "one frame longer, cut" and codes["kbps"] == 1.0 and codes["usage"] == 1 / 1024
    assert sound["si_sdr"] > 0
    for row in (sound, codes):
        assert not {"wall_seconds", "rtf", "peak_mb", "tokens_per_second"} & set(row)
    assert "note" not in found.metrics and not [entry for entry in found.summary if entry.metric == "note"]


def test_a_missing_output_is_that_row_s_failure(judge: Judge, songs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.wav").write_bytes((songs / "a.wav").read_bytes())
    found = judge([f"theirs=audio:{out}", "silence"])
    assert [(row["file"], row["system"]) for row in found.rows] == [
        ("a.wav", "theirs"),
        ("a.wav", "silence"),
        ("b.flac", "silence"),
    ]
    (failure,) = found.failed
    assert (failure.file, failure.system) == ("b.flac", "theirs")
    assert "has no output for this song; it was looked for as b" in failure.error


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_text("no audio"), "cannot be decoded as audio"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: soundfile.write(path, np.zeros((90_000, 2)), 48_000), "lasts 1.875 s, and the song 0.700 s"),
        (lambda path: soundfile.write(path, np.zeros((33_600, 5)), 48_000), "has 5 channels; pass --mixdown"),
        (lambda path: soundfile.write(path, np.full(33_600, np.nan), 48_000, subtype="FLOAT"), "NaN or infinite"),
        (lambda path: path.mkdir(), "has no output for this song"),
    ],
)
def test_somebody_s_broken_audio_is_one_line(
    write: Callable[[Path], Any], message: str, judge: Judge, songs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out / "a.wav")
    found = judge([f"theirs=audio:{out}"], files=[songs / "a.wav"])
    assert not found.rows and message in found.failed[0].error and "\n" not in found.failed[0].error


def test_silence_on_either_side_is_measured_honestly(judge: Judge, songs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    soundfile.write(out / "a.wav", np.zeros((33_600, 2)), 48_000)
    everything = ["stft", "mel", "si_sdr", "shimmer_db"]
    row = only(judge([f"theirs=audio:{out}"], files=[songs / "a.wav"], metrics=everything))
    assert row["stft"] > 3 and row["tier"] == "Poor" and row["si_sdr"] == -100
    (out / "a.wav").write_bytes((songs / "a.wav").read_bytes())
    soundfile.write(songs / "a.wav", np.zeros((33_600, 2)), 48_000)
    row = only(judge([f"theirs=audio:{out}"], files=[songs / "a.wav"], metrics=everything))
    assert math.isnan(row["stft"]) and row["tier"] == "unknown" and row["si_sdr"] == -100 and row["mel"] > 0.5


def test_a_file_of_30_ms(judge: Judge, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tiny.wav", 0.1 * np.random.default_rng(0).standard_normal((1440, 1)), 48_000)
    found = judge(["scalar_roundtrip", "random_codes", "mp3:128", "noise"], files=[tmp_path / "tiny.wav"], metrics=None)
    assert not found.failed and {row["seconds"] for row in found.rows} == {0.03}
    assert all(math.isfinite(row["mel"]) and math.isfinite(row["stft"]) for row in found.rows)


def test_hostile_names_are_names(judge: Judge, songs: Path) -> None:
    (songs / "a.wav").rename(songs / HOSTILE)
    found = judge(["silence"], files=[songs / HOSTILE])
    assert only(found)["file"] == HOSTILE and found.songs[0]["file"] == HOSTILE


def test_songs_say_what_is_known_of_them(quick: HeartCodec, songs: Path) -> None:
    details = {"title": "A", "author": "B", "licence": "CC0-1.0", "source": {"package": "p"}}
    suite = Suite("s", (Song("part", songs / "a.wav", 0.1, 0.25, details, file="a.wav"),))
    found = evaluate(codec=quick, suite=suite, systems=["silence"], metrics=["si_sdr"], embedder=None)
    (song,) = found.songs
    assert song == {
        "file": "part",
        "seconds": 0.25,
        "sha256": suite.songs[0].digest,
        "start": 0.1,
        "title": "A",
        "author": "B",
        "licence": "CC0-1.0",
    }


def test_memory_that_runs_out_is_that_row_s_failure(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(judging, "measure", measure)
    found = judge(["silence"])
    assert [entry.error for entry in found.failed] == [judging.OUT_OF_MEMORY] * 2
    monkeypatch.setattr(judging, "measure", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a mistake of heartopt's own is not hidden
        judge(["silence"])


class Embedder:
    """Left and right energy of each tenth of a second."""

    name = "energy"

    def embed(self, audio: Tensor) -> Tensor:
        return audio[:, : audio.shape[-1] // 4800 * 4800].unflatten(-1, (-1, 4800)).square().mean(-1).T


def test_the_frechet_distance_of_the_songs_themselves_is_zero(judge: Judge, songs: Path) -> None:
    found = judge([f"same=audio:{songs}", "silence"], embedder=Embedder())
    same, silence = found.corpus
    assert same == {"system": "same", "fad": pytest.approx(0, abs=1e-9)} and silence["fad"] > 1e-6
    assert found.settings["embedder"] == "energy"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("raise", "embedder own failed: ZeroDivisionError|division by zero"),
        (torch.zeros(3), "embeddings must be finite numbers"),
        (torch.full((3, 2), math.nan), "embeddings must be finite numbers"),
        (None, "embedder own failed"),
    ],
)
def test_an_embedder_that_fails_is_said(result: Any, message: str, judge: Judge) -> None:
    class Broken:
        name = "own"

        def embed(self, audio: Tensor) -> Any:
            return 1 / 0 if isinstance(result, str) else result

    found = judge(["silence"], embedder=Broken())
    assert not found.rows and len(found.failed) == 2
    with pytest.raises(HeartoptError, match=message):
        raise HeartoptError(found.failed[0].error)
