from __future__ import annotations

import errno
import json
import logging
import math
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import Tensor

from heartopt.audio import AudioFile, find_audio, read_audio, stereo
from heartopt.codec import HeartCodec
from heartopt.deshimmer import DeshimmerParams, deshimmer
from heartopt.errors import HeartoptError, OutputError
from heartopt.metrics import code_statistics, measure
from heartopt.projection import EncoderProjection
from heartopt.seeding import keyed_generator
from heartopt.training import clips as module
from heartopt.training.cache import LatentCache
from heartopt.training.clip_songs import Clip
from heartopt.training.clips import Clips, ClipsRecord
from heartopt.training.crops import Song
from heartopt.training.data import Encoding, prepare

CODEC = Path(__file__).parents[1] / "data" / "codec"
Make = Callable[..., Clips]
Judge = Callable[..., ClipsRecord]
WINDOW = 93  # code frames of 7.44 s


@pytest.fixture(scope="module")
def codec() -> HeartCodec:
    """The tiny codec with the embedded codec's short window, which a song can be longer than."""
    codec = HeartCodec.from_pretrained(CODEC)
    codec.default_duration = 7.44
    return codec


@pytest.fixture(scope="module")
def projection(codec: HeartCodec) -> EncoderProjection:
    torch.manual_seed(0)
    return EncoderProjection(256, codec.config.dim, 16)


@pytest.fixture
def held_out(codec: HeartCodec, make_song: Callable[..., Path], tmp_path: Path, shared_cache: Path) -> list[Song]:
    """A stereo song that is longer than the window, and a mono one of a second in a sub-folder."""
    make_song(tmp_path / "songs" / "a.wav", 9.0, seed=21)
    make_song(tmp_path / "songs" / "deep" / "b.wav", 1.03, seed=22, channels=1)
    cache = LatentCache(shared_cache, codec.fingerprint())
    found = find_audio([tmp_path / "songs"])
    return list(prepare(found, codec=codec, cache=cache, encoding=Encoding(mono=False)).songs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "validation"


@pytest.fixture
def make(held_out: list[Song], codec: HeartCodec, folder: Path) -> Make:
    def call(songs: list[Song] | None = None, **changed: Any) -> Clips:
        arguments: dict[str, Any] = {"codec": codec, "count": 8, "folder": folder, "decode_steps": 2}
        return Clips(held_out if songs is None else songs, **(arguments | changed))

    return call


@pytest.fixture
def judge(projection: EncoderProjection, codec: HeartCodec) -> Judge:
    def call(clips: Clips, *, step: int = 0, epoch: float = 0, **changed: Any) -> ClipsRecord:
        return clips.judge(projection, codec, step=step, epoch=epoch, **changed)

    return call


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def decode_by_hand(song: Song, projection: EncoderProjection, codec: HeartCodec) -> tuple[Tensor, Tensor, Tensor]:
    """(codes, decoded audio, original) of the middle window of `song`."""
    with torch.no_grad():
        e = codec.flow_matching.project_in(projection.project(song.inputs.read()[None]))
        codes = codec.flow_matching.quantize(e).codes[0]
        start = max(0, (codes.shape[-1] - WINDOW) // 2)
        codes = codes[:, start : start + WINDOW]
        noise = keyed_generator("clip", f"{song.digest}:{start}")
        audio = codec.detokenize(codes, num_steps=2, generator=noise)
    original = stereo(read_audio(song.path))[:, start * 3840 : (start + WINDOW) * 3840]
    return codes, audio[:, : original.shape[-1]], original


def test_figures_are_those_of_the_real_decoder(
    make: Make, judge: Judge, held_out: list[Song], projection: EncoderProjection, codec: HeartCodec, folder: Path
) -> None:
    record = judge(make(), step=7, epoch=2.0, best_stft=math.inf)
    made = [decode_by_hand(song, projection, codec) for song in held_out]
    rows = [measure(audio, original) for _, audio, original in made]
    assert [row["clip"] for row in record.clips] == ["a", "deep_b"]
    for row, expected in zip(record.clips, rows, strict=True):
        assert {name: value for name, value in row.items() if name != "clip"} == pytest.approx(expected, nan_ok=True)
    means = {name: sum(float(row[name]) for row in rows) / 2 for name in ("stft", "mel", "si_sdr", "shimmer_db")}
    assert {name: record.metrics[name] for name in means} == pytest.approx(means)
    statistics = code_statistics(torch.cat([codes for codes, _, _ in made], -1), codec.config.codebook_size).metrics()
    assert record.metrics["usage"] == statistics["usage"]
    assert record.metrics["perplexity"] == statistics["perplexity"]
    assert (record.kind, record.step, record.epoch, record.deshimmered) == ("clips", 7, 2.0, None)
    assert record.tier == "Poor" and record.metrics["stft"] > 3
    for song, (_, audio, _) in zip(held_out, made, strict=True):
        name = "a" if song.name == "a.wav" else "deep_b"
        written = read_audio(folder / f"{name}_epoch0002.wav")
        torch.testing.assert_close(written, audio.clamp(-1, 1), rtol=0, atol=2**-22)


def test_files_are_named_by_song_and_epoch(make: Make, judge: Judge, folder: Path) -> None:
    clips = make(count=1)
    assert not folder.exists()
    judge(clips, step=0, epoch=0.0)
    before = (folder / "deep_b_original.wav").stat()
    judge(clips, step=5, epoch=2.3)
    judge(clips, step=9, epoch=5.000000001)
    assert files(folder) == {
        "deep_b_original.wav",
        "deep_b_epoch0000.wav",
        "deep_b_epoch0003.wav",
        "deep_b_epoch0005.wav",
    }
    assert (folder / "deep_b_original.wav").stat() == before  # written once


def test_originals_are_the_songs_own_audio(make: Make, judge: Judge, held_out: list[Song], folder: Path) -> None:
    judge(make(), step=0, epoch=0.0)
    mono, stereo_clip = read_audio(folder / "deep_b_original.wav"), read_audio(folder / "a_original.wav")
    with AudioFile(held_out[1].path) as file:
        assert torch.equal(mono, file.read()) and mono.shape[0] == 1
    with AudioFile(held_out[0].path) as file:
        assert torch.equal(stereo_clip, file.read(10 * 3840, (10 + WINDOW) * 3840))
    assert soundfile.info(folder / "deep_b_epoch0000.wav").frames == mono.shape[1]


def test_the_noise_is_the_same_in_every_epoch_and_run(
    make: Make, judge: Judge, held_out: list[Song], folder: Path, tmp_path: Path
) -> None:
    clips = make(count=1)
    first = judge(clips, step=0, epoch=1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    second = judge(clips, step=10, epoch=2)
    assert torch.equal(torch.get_rng_state(), state)
    third = judge(make(held_out[::-1], folder=tmp_path / "other"), step=10, epoch=2)
    assert first.clips == second.clips
    assert first.clips == third.clips[:1]
    one, two = (read_audio(folder / f"deep_b_epoch000{epoch}.wav") for epoch in (1, 2))
    assert torch.equal(one, two)


def test_only_a_lower_mean_is_the_best(make: Make, judge: Judge) -> None:
    clips = make(count=1)
    first = judge(clips)
    stft = first.metrics["stft"]
    assert first.best
    assert not judge(clips, step=1, epoch=1, best_stft=stft).best
    assert judge(clips, step=1, epoch=1, best_stft=stft + 0.1).best


def test_deshimmered_versions_are_written_and_measured(
    make: Make, judge: Judge, held_out: list[Song], projection: EncoderProjection, codec: HeartCodec, folder: Path
) -> None:
    record = judge(make(deshimmer=True), epoch=5)
    assert {name for name in files(folder) if "deshimmered" in name} == {
        "a_epoch0005_deshimmered.wav",
        "deep_b_epoch0005_deshimmered.wav",
    }
    made = [decode_by_hand(song, projection, codec) for song in held_out]
    cleaned = [deshimmer(audio, 48_000, DeshimmerParams()) for _, audio, _ in made]
    figures = [measure(audio, original) for audio, (_, _, original) in zip(cleaned, made, strict=True)]
    assert record.deshimmered is not None
    assert record.deshimmered["mel"] == pytest.approx(sum(float(row["mel"]) for row in figures) / 2)
    assert record.deshimmered["mel"] != pytest.approx(record.metrics["mel"], rel=1e-6)
    written = read_audio(folder / "a_epoch0005_deshimmered.wav")
    torch.testing.assert_close(written, cleaned[0].clamp(-1, 1), rtol=0, atol=2**-22)


def test_a_song_that_vanished_is_no_clip(
    make: Make, judge: Judge, held_out: list[Song], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held_out[0].path.unlink()
    with caplog.at_level(logging.WARNING):
        clips = make()
    assert "a.wav: no clip of this held-out song is judged" in caplog.text
    record = judge(clips)
    assert [row["clip"] for row in record.clips] == ["deep_b"]
    assert record.best
    assert files(folder) == {"deep_b_original.wav", "deep_b_epoch0000.wav"}


def test_a_song_or_cache_entry_that_vanishes_later_is_not_missed(
    make: Make, judge: Judge, held_out: list[Song]
) -> None:
    clips = make()
    for song in held_out:
        song.path.unlink()
        song.inputs.path.unlink()
    assert len(judge(clips).clips) == 2


def test_without_a_clip_there_is_an_empty_record(make: Make, judge: Judge) -> None:
    record = judge(make([]), step=3, epoch=1)
    assert record == ClipsRecord(3, 1, {}, "unknown", False, (), None)


def test_a_full_disk_is_told_and_leaves_no_half_file(
    make: Make, judge: Judge, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = make(count=1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("heartopt.files.os.replace", full)
        with pytest.raises(OutputError, match=r"deep_b_original.wav: No space left"):
            judge(clips)
        assert files(folder) == set()
    judge(clips)
    with monkeypatch.context() as patch:
        patch.setattr("heartopt.files.os.replace", full)
        with pytest.raises(OutputError, match=r"deep_b_epoch0001.wav: No space left"):
            judge(clips, step=1, epoch=1)
    assert files(folder) == {"deep_b_original.wav", "deep_b_epoch0000.wav"}


def test_a_clip_that_fails_is_left_out_and_the_rest_is_not_the_best(
    make: Make, judge: Judge, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clips, codes = make(), Clip.codes

    def fail(clip: Clip, *arguments: Any) -> Tensor:
        if clip.name == "a":
            raise HeartoptError("no codes today")
        return codes(clip, *arguments)

    monkeypatch.setattr(Clip, "codes", fail)
    with caplog.at_level(logging.WARNING):
        record = judge(clips, step=4, epoch=1)
    assert "a: this clip is left out after step 4: no codes today" in caplog.text
    assert [row["clip"] for row in record.clips] == ["deep_b"]
    assert math.isfinite(record.metrics["stft"]) and not record.best
    assert "a_epoch0001.wav" not in files(folder)


def test_a_projection_that_is_not_finite_ends_nothing(
    make: Make, judge: Judge, codec: HeartCodec, caplog: pytest.LogCaptureFixture
) -> None:
    broken = EncoderProjection(256, codec.config.dim, 16)
    with torch.no_grad():
        broken.net[0].bias.fill_(float("nan"))
    record = make().judge(broken, codec, step=4, epoch=1)
    assert (record.metrics, record.tier, record.best, record.clips) == ({}, "unknown", False, ())
    assert caplog.text.count("not finite") == 2


def test_clipping_is_never_silent(
    make: Make,
    judge: Judge,
    codec: HeartCodec,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clips = make(count=1)
    loud = torch.zeros(2, WINDOW * 3840)
    loud[0, 100:200] = 2.0
    monkeypatch.setattr(codec, "detokenize", lambda *_, **__: loud)
    seen = []
    monkeypatch.setattr(module, "measure", lambda audio, original: seen.append(audio) or measure(audio, original))
    with caplog.at_level(logging.WARNING):
        judge(clips, step=3, epoch=1)
    assert "clipped to full scale: 1 of the WAV files after step 3, deep_b_epoch0001.wav by 6.0 dB" in caplog.text
    assert float(seen[0].max()) == 2.0
    assert float(read_audio(folder / "deep_b_epoch0001.wav").max()) == pytest.approx(1.0, abs=1e-6)


def test_audio_that_is_not_finite_is_left_out(
    make: Make, judge: Judge, codec: HeartCodec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clips = make(count=1)
    monkeypatch.setattr(codec, "detokenize", lambda *_, **__: torch.full((2, WINDOW * 3840), float("nan")))
    assert judge(clips, step=3, epoch=1).clips == ()
    assert "NaN or infinite" in caplog.text


def test_metrics_that_are_not_installed_or_known_are_passed_over(
    make: Make, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = iter([{"stft": 2.0, "pesq_wb": "not installed", "mel": 1.0}, {"stft": math.nan, "mel": 3.0}])
    monkeypatch.setattr(module, "measure", lambda audio, original: next(rows))
    record = judge(make())
    assert {name: record.metrics[name] for name in record.metrics if name not in ("usage", "perplexity")} == {
        "stft": 2.0,
        "mel": 2.0,
    }
    assert record.tier == "Fair"
    assert record.clips[0]["pesq_wb"] == "not installed"


def test_the_record_can_be_written_as_json(make: Make, judge: Judge) -> None:
    record = judge(make(count=1), step=0, epoch=0.5)
    plain = json.loads(json.dumps(asdict(record)))
    assert plain["kind"] == "clips" and plain["clips"][0]["clip"] == "deep_b"


def test_hostile_names_stay_in_the_folder(held_out: list[Song], make: Make, judge: Judge, folder: Path) -> None:
    songs = [replace(held_out[1], name="../../out\n.wav"), replace(held_out[1], name="x/" + "ü" * 200 + ".wav")]
    judge(make(songs))
    assert files(folder) == {
        f"{name}_{end}.wav" for name in ("_.._out_", "x_" + "ü" * 49) for end in ("original", "epoch0000")
    }
