"""Audio and tokens from outside: what is made to fit, what is said of it, what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from heartopt.errors import AudioError, HeartoptError, TokenError
from heartopt.evaluation.fitting import fit_audio, fit_decoded, fit_tokens, join_notes, read_output, to_tensor
from heartopt.evaluation.suites import Song

SECOND = 48_000


def tone(seconds: float, rate: int = SECOND, channels: int = 2) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([0.3 * np.sin(2 * np.pi * 440 * (1 + place) * time) for place in range(channels)], axis=1)


@pytest.mark.parametrize(
    ("longer", "note"),
    [
        (0, ""),
        (480, "10.0 ms longer, cut"),
        (-480, "10.0 ms shorter, silence at its end"),
        (4800, "100.0 ms longer, cut"),
    ],
)
def test_small_differences_of_length_are_mended_and_said(longer: int, note: str) -> None:
    audio = torch.rand(2, SECOND + longer) + 0.1
    fitted, found = fit_audio(audio, SECOND, "x.wav")
    assert (fitted.shape, found) == ((2, SECOND), note)
    same = min(SECOND, SECOND + longer)
    assert torch.equal(fitted[:, :same], audio[:, :same]) and not fitted[:, same:].any()


def test_mono_fills_both_channels_and_is_said() -> None:
    audio = torch.rand(1, 1440)  # 30 ms
    fitted, note = fit_audio(audio, 1440, "x")
    assert note == "mono, taken for both channels" and torch.equal(fitted, audio.expand(2, -1))


@given(samples=st.integers(1, 20_000), length=st.integers(1, 20_000))
def test_what_fits_has_the_song_s_length_and_what_does_not_is_refused(samples: int, length: int) -> None:
    near = abs(samples - length) <= 4800 and 2 * length >= samples
    if near:
        fitted, note = fit_audio(torch.ones(2, length), samples, "x")
        assert fitted.shape == (2, samples) and bool(note) == (samples != length)
        assert int(fitted.sum()) == 2 * min(samples, length)
    else:
        with pytest.raises(AudioError, match=r"x: lasts .* more than 0\.1 s apart is not compared"):
            fit_audio(torch.ones(2, length), samples, "x")


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (torch.zeros(3, 100), "x: has 3 channels"),
        (torch.zeros(100), r"audio must be floating point \[channels, samples\], not float32 \[100\]"),
        (torch.zeros(2, 0), r"not float32 \[2, 0\]"),
        (torch.zeros(2, 100, dtype=torch.int64), "not int64"),
        (torch.full((2, 100), math.nan), "samples that are NaN or infinite"),
        (torch.full((2, 100), math.inf), "samples that are NaN or infinite"),
        (torch.zeros(2, 9000), "lasts 0.188 s, and the song 0.002 s"),
    ],
)
def test_other_audio_is_refused(audio: torch.Tensor, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        fit_audio(audio, 100, "x")


def test_files_are_resampled_and_that_is_said(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(0.5, 44_100, 1), 44_100)
    audio, note = read_output(Song("x", tmp_path / "x.wav"), 24_000, str(tmp_path / "x.wav"), mixdown=False)
    assert note == "resampled from 44100 Hz; mono, taken for both channels"
    expected = torch.from_numpy(tone(0.5)[:, 0]).float()
    torch.testing.assert_close(audio[0, 500:-500], expected[500:-500], atol=1e-3, rtol=0)


def test_files_of_many_channels_and_with_nan_are_refused(tmp_path: Path) -> None:
    song = Song("x", tmp_path / "x.wav")
    soundfile.write(tmp_path / "six.wav", tone(0.1, channels=6), SECOND)
    with pytest.raises(AudioError, match="has 6 channels; pass --mixdown"):
        read_output(song, 4800, str(tmp_path / "six.wav"), mixdown=False)
    audio, note = read_output(song, 4800, str(tmp_path / "six.wav"), mixdown=True)
    assert audio.shape == (2, 4800) and torch.equal(audio[0], audio[1]) and "mono" in note
    broken = tone(0.1)
    broken[5] = math.nan
    soundfile.write(tmp_path / "nan.wav", broken, SECOND, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN or infinite"):
        read_output(song, 4800, str(tmp_path / "nan.wav"), mixdown=False)


def test_a_rendering_of_the_whole_song_serves_its_excerpt(tmp_path: Path) -> None:
    whole = tone(1.0)
    soundfile.write(tmp_path / "song.wav", whole, SECOND, subtype="FLOAT")
    soundfile.write(tmp_path / "out.wav", np.concatenate([whole * 0.5, np.zeros((300, 2))]), SECOND, subtype="FLOAT")
    song = Song("part", tmp_path / "song.wav", start=0.25, seconds=0.5)
    audio, note = read_output(song, 24_000, str(tmp_path / "out.wav"), mixdown=False)
    assert note == "cut from the whole song"
    torch.testing.assert_close(audio, torch.from_numpy(whole[12_000:36_000].T * 0.5).float())
    last = Song("end", tmp_path / "song.wav", start=0.6, seconds=0.4)
    soundfile.write(tmp_path / "short.wav", whole[:-100], SECOND)  # some samples of the excerpt's end are missing
    audio, note = read_output(last, 19_200, str(tmp_path / "short.wav"), mixdown=False)
    assert note == "cut from the whole song; 2.1 ms shorter, silence at its end"
    with pytest.raises(AudioError, match=r"lasts 1\.006 s, and the song 0\.500 s"):
        read_output(Song("all", tmp_path / "song.wav"), 24_000, str(tmp_path / "out.wav"), mixdown=False)


def test_tokens_of_the_song_s_length_and_next_to_it() -> None:
    tokens = torch.arange(8 * 6).reshape(8, 6)
    assert fit_tokens(tokens, None, 20_000, "x") == (tokens, 0, "")
    cut, offset, note = fit_tokens(tokens, None, 19_200, "x")
    assert torch.equal(cut, tokens[:, :5]) and (offset, note) == (0, "one frame longer, cut")
    kept, offset, note = fit_tokens(tokens, None, 6 * 3840 + 1, "x")
    assert torch.equal(kept, tokens) and (offset, note) == (0, "one frame shorter, silence at its end")
    for samples in (4 * 3840, 8 * 3840):
        with pytest.raises(TokenError, match=r"x: 6 frames last 0\.48 s, and the song"):
            fit_tokens(tokens, None, samples, "x")


def test_tokens_of_the_whole_song_serve_its_excerpt(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", tone(1.0), SECOND)
    song = Song("part", tmp_path / "song.wav", start=0.25, seconds=0.2)
    tokens = torch.zeros(8, 13, dtype=torch.int64)  # 1.04 s
    kept, offset, note = fit_tokens(tokens, song, 9600, "x")
    assert kept is tokens and (offset, note) == (12_000, "cut from the whole song")
    decoded = torch.arange(13 * 3840.0).expand(2, -1)
    assert fit_decoded(decoded, 9600, offset)[0, [0, -1]].tolist() == [12_000, 21_599]


def test_decoded_tokens_are_cut_or_filled() -> None:
    audio = torch.ones(2, 100, dtype=torch.float64)
    assert fit_decoded(audio, 60).shape == (2, 60) and fit_decoded(audio, 60).dtype == torch.float32
    assert fit_decoded(audio, 150).sum() == 200


def test_results_of_functions_become_tensors() -> None:
    assert to_tensor(np.zeros((2, 3)), "x").shape == (2, 3)
    assert to_tensor([[1, 2]], "x").dtype == torch.int64
    for made in (None, "sound", object()):
        with pytest.raises(HeartoptError, match=r"x: gave \w+, not tokens"):
            to_tensor(made, "x")


def test_notes() -> None:
    assert join_notes("", "a", "", "b") == "a; b" and join_notes("", "") == ""
