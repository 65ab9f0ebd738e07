"""`heartopt decode`: lengths, seeds, other codecs' tokens, and files that must not be lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from heartopt import HeartCodec
from heartopt.tokens import load_tokens

QUICK = ("--duration", 7.44, "--steps", 2)


def test_audio_is_as_long_as_the_song(heartopt, make_tokens, tmp_path: Path) -> None:
    tokens = make_tokens(frames=5, seconds=0.37)
    ran = heartopt("decode", tokens, "-o", tmp_path / "out", *QUICK, "--json")
    assert (ran.code, ran.err) == (0, "")
    audio, rate = soundfile.read(tmp_path / "out/song.wav", always_2d=True)
    assert (rate, audio.shape) == (48_000, (17_760, 2))
    assert 0.001 < np.abs(audio).max() <= 1
    assert ran.json["files"][0]["audio"] == str(tmp_path / "out/song.wav")
    assert ran.json["files"][0]["seconds"] == pytest.approx(0.37)


def test_without_json_audio_is_as_long_as_the_tokens(heartopt, make_tokens, tmp_path: Path) -> None:
    tokens = make_tokens(frames=5)
    bare = tmp_path / "bare.npy"
    tokens.rename(bare)
    assert heartopt("decode", bare, "-o", tmp_path / "out", *QUICK).code == 0
    assert soundfile.info(tmp_path / "out/bare.wav").frames == 5 * 3840


def test_it_is_the_library_s_decoding(heartopt, make_tokens, mini: HeartCodec, tmp_path: Path) -> None:
    tokens = make_tokens(frames=120, seconds=9.6)
    assert heartopt("decode", tokens, "-o", tmp_path / "out", *QUICK, "--guidance", 1.5, "--seed", 4).code == 0
    sizes = mini.config
    codes = load_tokens(tokens, num_quantizers=sizes.num_quantizers, codebook_size=sizes.codebook_size).tokens
    generator = torch.Generator().manual_seed(4)
    expected = mini.detokenize(codes, duration=7.44, num_steps=2, guidance_scale=1.5, generator=generator)
    audio = soundfile.read(tmp_path / "out/song.wav", dtype="float32")[0].T
    assert audio.shape == expected.shape
    # 24-bit samples: half a step is 6e-8; clipping beyond full scale
    torch.testing.assert_close(torch.from_numpy(audio.copy()), expected.clamp(-1, 1), rtol=0, atol=1e-6)


def test_the_same_seed_gives_the_same_audio(heartopt, make_tokens, tmp_path: Path) -> None:
    tokens = make_tokens()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert heartopt("decode", tokens, "-o", tmp_path / name, *QUICK, "--seed", seed).code == 0
    first, same, other = ((tmp_path / name / "song.wav").read_bytes() for name in "abc")
    assert first == same
    assert first != other


def test_the_window_that_the_tokens_name_is_the_default(heartopt, make_tokens, tmp_path: Path) -> None:
    named, unnamed = make_tokens("named", settings={"duration": 7.44}), make_tokens("unnamed")
    assert heartopt("decode", named, "-o", tmp_path / "out", "--steps", 2).code == 0
    assert heartopt("decode", unnamed, "-o", tmp_path / "out", *QUICK).code == 0
    assert (tmp_path / "out/named.wav").read_bytes() == (tmp_path / "out/unnamed.wav").read_bytes()


def test_tokens_of_another_codec_are_refused_unless_asked_for(heartopt, make_tokens, tmp_path: Path) -> None:
    tokens = make_tokens(codec="another", fingerprint="0" * 64)
    ran = heartopt("decode", tokens, "-o", tmp_path / "out", *QUICK)
    assert ran.code == 1
    assert "made for codec another" in ran.one_line_error()
    assert list((tmp_path / "out").iterdir()) == []
    assert heartopt("decode", tokens, "-o", tmp_path / "out", *QUICK, "--any_codec").code == 0


def test_a_song_beside_its_tokens_is_not_overwritten(heartopt, make_song, make_tokens, tmp_path: Path) -> None:
    song, tokens = make_song("song.wav", seconds=0.1), make_tokens("song")
    before = song.read_bytes()
    ran = heartopt("decode", tokens, "-o", tmp_path, *QUICK)
    assert ran.code == 2
    assert "pass --overwrite" in ran.one_line_error()
    assert song.read_bytes() == before
    assert heartopt("decode", tokens, "-o", tmp_path, *QUICK, "--overwrite").code == 0
    assert song.read_bytes() != before


def test_folders_of_tokens(heartopt, make_tokens, tmp_path: Path) -> None:
    make_tokens("in/one")
    make_tokens("in/deep/two")
    (tmp_path / "in/three.tokens.npy").write_bytes(b"not an array")
    (tmp_path / "in/deep/loop").symlink_to(tmp_path / "in", target_is_directory=True)
    ran = heartopt("decode", tmp_path / "in", "-o", tmp_path / "out", *QUICK, "--json")
    assert ran.code == 3
    assert [Path(row["input"]).name for row in ran.json["failed"]] == ["three.tokens.npy"]
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.wav")}
    assert written == {"one.wav", "deep/two.wav"}


def test_two_token_files_for_one_output_are_refused(heartopt, make_tokens, tmp_path: Path) -> None:
    ran = heartopt("decode", make_tokens("a/song"), make_tokens("b/song"), "-o", tmp_path / "out")
    assert ran.code == 2
    assert "would both write" in ran.one_line_error()
    assert not (tmp_path / "out").exists()
