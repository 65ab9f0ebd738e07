from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from heartopt.errors import HeartoptError
from heartopt.evaluation import Evaluation
from heartopt.report import pictures
from heartopt.report.figures import rows_of
from heartopt.report.pictures import Heard, applicable, choose_heard, digest_of, draw_heard, draw_report

pytest.importorskip("matplotlib")


def test_a_picture_needs_rows_that_are_enough_for_it(evaluation: Evaluation, rated: Evaluation) -> None:
    assert list(applicable(rated, "own")) == [f"own.{name}.png" for name in ("tiers", "rate", "time", "codes")]
    assert "own.rate.png" not in applicable(evaluation, "own")
    assert applicable(Evaluation("none", (), (), (), (), {}), "own") == {}


def test_their_words_say_what_they_show(rated: Evaluation) -> None:
    words = applicable(rated, "own")
    assert "optimized 1.70 (Good)" in words["own.tiers.png"] and "control: silence 6.00" in words["own.tiers.png"]
    assert "against kbit/s" in words["own.rate.png"] and "mp3:32" in words["own.rate.png"]
    assert "seconds for a second of audio" in words["own.time.png"] and "silence" not in words["own.time.png"]
    assert words["own.codes.png"].endswith("projection, optimized")


def test_they_are_whole_png_files_that_know_their_rows(rated: Evaluation, tmp_path: Path) -> None:
    drawn = draw_report(rated, tmp_path, "own")
    assert [path.name for path in drawn] == list(applicable(rated, "own"))
    assert sorted(drawn) == sorted(tmp_path.iterdir())
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in drawn)
    assert {rows_of(path) for path in drawn} == {digest_of(rated)}


def test_a_digest_is_that_of_what_was_measured(evaluation: Evaluation) -> None:
    digest = digest_of(evaluation)
    assert digest == digest_of(replace(evaluation, settings={**evaluation.settings, "command": "other"}))
    changed = ({**evaluation.rows[0], "stft": 5.6}, *evaluation.rows[1:])
    assert digest != digest_of(replace(evaluation, rows=changed))
    assert digest_of(Evaluation.from_json(evaluation.to_json())) == digest


def test_heard_is_the_second_system_with_tokens_where_it_is_worst(evaluation: Evaluation) -> None:
    assert choose_heard(evaluation) == Heard(evaluation.rows[5]["file"], "projection", "optimized")
    turned = choose_heard(replace(evaluation, against="optimized"))
    assert turned is not None and (turned.start, turned.result) == ("optimized", "projection")
    alone = replace(evaluation, rows=tuple(row for row in evaluation.rows if row["system"] != "optimized"))
    assert choose_heard(alone) == Heard(evaluation.rows[5]["file"], None, "projection")
    assert choose_heard(replace(evaluation, rows=())) is None
    controls = tuple(row for row in evaluation.rows if row["system"] == "silence")
    assert choose_heard(replace(evaluation, rows=controls)) is None
    apart = tuple(row for row in evaluation.rows if (row["system"] == "optimized") == (row["file"] == "a.wav"))
    assert choose_heard(replace(evaluation, rows=apart)) is None  # no file has both


def test_where_nothing_makes_tokens_audio_is_heard(evaluation: Evaluation) -> None:
    rows = tuple({key: value for key, value in row.items() if key != "usage"} for row in evaluation.rows)
    heard = choose_heard(replace(evaluation, rows=rows))
    assert heard is not None and (heard.start, heard.result) == ("projection", "optimized")


def test_spectrograms_are_of_the_song_and_both_systems(evaluation: Evaluation, tmp_path: Path) -> None:
    asked = []

    def sounds(file: str, system: str | None) -> torch.Tensor:
        asked.append((file, system))
        return torch.full((2, 4_800), 0.1)

    draw_heard(evaluation, sounds, Heard("a.wav", "projection", "optimized"), tmp_path / "x.png")
    assert asked == [("a.wav", None), ("a.wav", "projection"), ("a.wav", "optimized")]
    assert rows_of(tmp_path / "x.png") == digest_of(evaluation)
    draw_heard(evaluation, sounds, Heard("a.wav", None, "optimized"), tmp_path / "y.png")
    assert asked[3:] == [("a.wav", None), ("a.wav", "optimized")]
    assert "the original, optimized, and the difference" in Heard("a.wav", None, "optimized").words


def test_without_matplotlib_it_is_said(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(what: str) -> None:
        raise HeartoptError(f"drawing {what} needs matplotlib")

    monkeypatch.setattr(pictures, "need_matplotlib", missing)
    with pytest.raises(HeartoptError, match="needs matplotlib"):
        draw_report(evaluation, tmp_path, "own")
    assert list(tmp_path.iterdir()) == []
