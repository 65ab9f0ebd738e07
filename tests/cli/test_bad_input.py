"""Every bad input through the real command: one clear line, a non-zero exit, nothing under its final name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from heartopt import EncoderProjection, HeartCodec
from heartopt.projection import save_projection

QUICK = ("--duration", 7.44, "--steps", 1)


def _write(folder: Path, name: str, audio: np.ndarray, rate: int = 48_000) -> Path:
    path = folder / name
    soundfile.write(path, audio, rate, subtype="FLOAT" if name.endswith(".wav") else None)
    return path


def _with(value: float) -> np.ndarray:
    audio = np.zeros((4800, 2), dtype=np.float32)
    audio[2400, 1] = value
    return audio


def _cut(folder: Path, name: str, keep: int) -> Path:
    """The first `keep` bytes of a song: a header, but nothing that decodes."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (48_000, 2))
    path = _write(folder, name, noise)
    path.write_bytes(path.read_bytes()[:keep])
    return path


def _file(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


BAD_SONGS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "gone.wav", "no such file"),
    "empty": (lambda folder: _file(folder, "empty.wav", b""), "empty"),
    "text": (lambda folder: _file(folder, "words.wav", b"la la la, not audio at all\n" * 9), "words.wav: "),
    "cut MP3": (lambda folder: _cut(folder, "cut.mp3", 100), "cut.mp3: "),
    "cut FLAC": (lambda folder: _cut(folder, "cut.flac", 60), "cut.flac: "),
    "zero length": (lambda folder: _write(folder, "none.wav", np.zeros((0, 2))), "no samples"),
    "NaN": (lambda folder: _write(folder, "nan.wav", _with(np.nan)), "NaN or infinite"),
    "infinity": (lambda folder: _write(folder, "inf.wav", _with(np.inf)), "NaN or infinite"),
    "eight channels": (lambda folder: _write(folder, "eight.wav", np.zeros((4800, 8))), "--mixdown"),
    "empty folder": (lambda folder: folder / "in", "no audio"),
}


@pytest.mark.parametrize("verb", ["tokenize", "optimize"])
@pytest.mark.parametrize("kind", BAD_SONGS)
def test_bad_songs_are_refused(heartopt, projection_file: Path, tmp_path: Path, verb: str, kind: str) -> None:
    (tmp_path / "in").mkdir()
    make, complaint = BAD_SONGS[kind]
    ran = heartopt(verb, make(tmp_path), "-o", tmp_path / "out", "--projection", projection_file)
    assert (ran.code, ran.out) == (1, "")
    assert complaint in ran.one_line_error()
    assert list(tmp_path.glob("out/*")) == []


@pytest.mark.parametrize(
    ("seconds", "rate", "channels"), [(0.01, 48_000, 2), (0.3, 8_000, 1), (0.1, 192_000, 2), (0.2, 44_100, 1)]
)
def test_unusual_songs_work(
    heartopt, make_song, projection_file: Path, tmp_path: Path, seconds: float, rate: int, channels: int
) -> None:
    song = make_song(seconds=seconds, rate=rate, channels=channels)
    ran = heartopt("tokenize", song, "-o", tmp_path / "out", "--projection", projection_file)
    assert (ran.code, ran.err) == (0, "")
    ran = heartopt("decode", tmp_path / "out", "-o", tmp_path / "out", *QUICK)
    assert (ran.code, ran.err) == (0, "")
    assert soundfile.info(tmp_path / "out/song.wav").frames == round(seconds * 48_000)


def test_silence_works(heartopt, projection_file: Path, tmp_path: Path) -> None:
    song = _write(tmp_path, "silence.wav", np.zeros((9600, 2)))
    ran = heartopt("tokenize", song, "-o", tmp_path / "out", "--projection", projection_file)
    assert (ran.code, ran.err) == (0, "")


def test_eight_channels_work_when_mixed_down(heartopt, projection_file: Path, tmp_path: Path) -> None:
    song = _write(tmp_path, "eight.wav", np.random.default_rng(0).uniform(-0.1, 0.1, (4800, 8)))
    ran = heartopt("tokenize", song, "-o", tmp_path / "out", "--projection", projection_file, "--mixdown")
    assert (ran.code, ran.err) == (0, "")


def test_output_that_cannot_be_written(heartopt, make_song, make_tokens, projection_file: Path, tmp_path) -> None:
    song, tokens = make_song(seconds=0.1), make_tokens("t")
    blocked = _file(tmp_path, "file", b"in the way") / "out"
    for command in (("tokenize", song, "--projection", projection_file), ("decode", tokens)):
        ran = heartopt(*command, "-o", blocked)
        assert (ran.code, ran.out) == (1, "")
        assert "cannot write" in ran.one_line_error()


def test_an_output_name_that_is_taken_by_a_folder(heartopt, make_song, projection_file: Path, tmp_path) -> None:
    (tmp_path / "out/song.tokens.npy").mkdir(parents=True)
    song = make_song(seconds=0.1)
    ran = heartopt("tokenize", song, "-o", tmp_path / "out", "--projection", projection_file)
    assert ran.code == 1
    assert "cannot write" in ran.one_line_error()


def _bad_tokens(path: Path, kind: str) -> str:
    """Spoil the token file at `path`; returns a part of the complaint."""
    tokens = np.load(path)
    if kind == "range":
        tokens[3, 1] = 10**6
    elif kind == "negative":
        tokens[0, 0] = -1
    elif kind == "levels":
        tokens = tokens[:5]
    elif kind == "floats":
        tokens = tokens.astype(np.float32)
    elif kind == "pickle":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        return "not a whole .npy"
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-7])
        return "not a whole .npy"
    elif kind == "json":
        path.with_suffix(".json").write_text("{")
        return "cannot be read as JSON"
    np.save(path, tokens)
    return {"range": "outside", "negative": "outside", "levels": "must be [8,", "floats": "int64"}[kind]


@pytest.mark.parametrize("kind", ["range", "negative", "levels", "floats", "pickle", "cut", "json"])
def test_bad_tokens_are_refused(heartopt, make_tokens, tmp_path: Path, kind: str) -> None:
    tokens = make_tokens()
    complaint = _bad_tokens(tokens, kind)
    ran = heartopt("decode", tokens, "-o", tmp_path / "out", *QUICK)
    assert (ran.code, ran.out) == (1, "")
    assert complaint in ran.one_line_error()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_window_that_the_codec_does_not_have(heartopt, make_tokens, tmp_path: Path) -> None:
    ran = heartopt("decode", make_tokens(), "-o", tmp_path / "out", "--duration", 10)
    assert ran.code == 2
    assert "multiple of 7.44" in ran.one_line_error()
    assert not (tmp_path / "out").exists()


def test_a_codec_of_another_shape(heartopt, make_tokens, mini: HeartCodec, tmp_path: Path) -> None:
    mini.save_pretrained(tmp_path / "codec")
    weights = load_file(tmp_path / "codec/model.safetensors")
    name = sorted(weights)[0]
    weights[name] = torch.zeros(3, 5)
    save_file(weights, tmp_path / "codec/model.safetensors", metadata={"format": "pt"})
    ran = heartopt("decode", make_tokens(), "-o", tmp_path / "out", "--codec", tmp_path / "codec")
    assert (ran.code, ran.out) == (1, "")
    assert name in ran.one_line_error()


@pytest.mark.parametrize("name", ["no/such-codec", "no such folder", "https://example.org/codec"])
def test_an_unknown_codec_while_offline(heartopt, make_song, projection_file: Path, tmp_path, name: str) -> None:
    song = make_song(seconds=0.1)
    args = ("--codec", name, "--local-files-only", "--projection", projection_file)
    ran = heartopt("tokenize", song, "-o", tmp_path / "out", *args)
    assert (ran.code, ran.out) == (1, "")
    assert name in ran.one_line_error()
    if name == "no/such-codec":
        assert "not in the local cache" in ran.err and "check the id's spelling, or name a local folder" in ran.err


@pytest.mark.parametrize("name", ["mini", "FOLDER"])
def test_a_revision_of_what_is_not_on_the_hub(heartopt, make_song, tmp_path: Path, name: str) -> None:
    codec = str(tmp_path) if name == "FOLDER" else name
    ran = heartopt("tokenize", make_song(), "-o", tmp_path / "out", "--codec", codec, "--revision", "main")
    assert (ran.code, ran.out) == (2, "")
    assert f"codec {codec}: " in ran.one_line_error() and "revision main" in ran.err


@pytest.mark.parametrize("kind", ["missing", "text", "pickle", "another codec's"])
def test_bad_projections_are_refused(heartopt, make_song, tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("projection.pt" if kind == "pickle" else "projection.safetensors")
    if kind == "text":
        path.write_text("not tensors")
    elif kind == "pickle":
        torch.save({"projection_state_dict": Path("anything")}, path)
    elif kind == "another codec's":
        save_projection(EncoderProjection(96, 512, 32), path, {})
    ran = heartopt("tokenize", make_song(seconds=0.1), "-o", tmp_path / "out", "--projection", path)
    assert (ran.code, ran.out) == (1, "")
    assert "projection" in ran.one_line_error()
    assert list((tmp_path / "out").glob("*")) == []


def test_a_device_that_is_not_there(heartopt, make_song, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    ran = heartopt("tokenize", make_song(seconds=0.1), "-o", tmp_path / "out", "--device", "cuda:1")
    assert ran.code == 1
    assert "CUDA devices" in ran.one_line_error()


def test_json_errors_are_json(heartopt, tmp_path: Path) -> None:
    ran = heartopt("tokenize", tmp_path / "gone.wav", "-o", tmp_path / "out", "--json")
    assert ran.code == 1
    assert set(json.loads(ran.out)) == {"error"}
