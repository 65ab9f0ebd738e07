"""Audio in and out at 48 kHz: what must work, what must be refused, and in what words."""

from __future__ import annotations

import math
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heartopt.audio import (
    SAMPLE_RATE,
    AudioFile,
    AudioSource,
    AudioTensor,
    AudioWriter,
    read_audio,
    stereo,
    write_audio,
)
from heartopt.errors import AudioError, OutputError

STEP = 2**-23  # of 24-bit PCM


def noise(channels: int, samples: int, seed: int = 0) -> Tensor:
    return torch.rand(channels, samples, generator=torch.Generator().manual_seed(seed)) - 0.5


def save(path: Path, audio: Tensor, rate: int, **options: str) -> Path:
    soundfile.write(path, audio.T.numpy(), rate, **options)
    return path


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_native_samples_are_the_file_s_own(tmp_path: Path, rate: int) -> None:
    audio = noise(2, 5_000)
    path = save(tmp_path / "song.wav", audio, rate, subtype="FLOAT")
    with AudioFile(path, native=True) as file:
        assert (file.rate, file.num_samples, file.seconds) == (rate, 5_000, 5_000 / rate)
        torch.testing.assert_close(file.read(100, 4_000), audio[:, 100:4_000], rtol=0, atol=0)
    with AudioFile(path) as file:
        assert (file.rate, file.sample_rate) == (SAMPLE_RATE, rate)


# --- reading


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.01, 0.5])
def test_any_rate_and_length_gives_48_khz(tmp_path: Path, rate: int, channels: int, seconds: float) -> None:
    path = save(tmp_path / "a.wav", noise(channels, round(rate * seconds)), rate)
    with AudioFile(path) as file:
        assert file.path == path
        assert file.sample_rate == rate
        assert file.channels == channels
        assert file.num_samples == round(SAMPLE_RATE * seconds)
        assert file.seconds == pytest.approx(seconds)
        audio = file.read()
    assert audio.shape == (channels, round(SAMPLE_RATE * seconds))
    assert audio.dtype == torch.float32
    assert float(audio.abs().max()) > 0.1


def test_silence_is_silence(tmp_path: Path) -> None:
    path = save(tmp_path / "a.flac", torch.zeros(2, 44_100), 44_100)
    assert torch.equal(read_audio(path), torch.zeros(2, 48_000))


def test_one_sample_is_audio(tmp_path: Path) -> None:
    assert read_audio(save(tmp_path / "a.wav", noise(1, 1), 48_000)).shape == (1, 1)


def test_the_pitch_is_kept(tmp_path: Path) -> None:
    def tone(rate: int) -> Tensor:
        return 0.5 * torch.sin(2 * math.pi * 1_000 * torch.arange(rate, dtype=torch.float64) / rate)[None]

    audio = read_audio(save(tmp_path / "a.wav", tone(22_050), 22_050, subtype="FLOAT"))
    expected = tone(SAMPLE_RATE).float()
    torch.testing.assert_close(audio[:, 2_000:-2_000], expected[:, 2_000:-2_000], rtol=0, atol=5e-6)


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Tensor]]:
    """Files of several rates and formats, each with what reading it whole gives."""
    folder = tmp_path_factory.mktemp("songs")
    made = {}
    for name, rate in [("a.wav", 44_100), ("b.flac", 96_000), ("c.ogg", 44_100), ("d.mp3", 22_050), ("e.wav", 8_000)]:
        path = save(folder / name, noise(2, 2 * rate + 17), rate)
        made[name] = path, read_audio(path)
    return made


@settings(deadline=None, max_examples=50)
@given(data=st.data(), name=st.sampled_from(["a.wav", "b.flac", "c.ogg", "d.mp3", "e.wav"]))
def test_a_partial_read_is_the_slice_of_the_whole(
    songs: dict[str, tuple[Path, Tensor]], data: st.DataObject, name: str
) -> None:
    path, whole = songs[name]
    with AudioFile(path) as file:
        for _ in range(2):
            start = data.draw(st.integers(0, file.num_samples + 10), label="start")
            stop = data.draw(st.none() | st.integers(0, file.num_samples + 10), label="stop")
            torch.testing.assert_close(file.read(start, stop), whole[:, start:stop], rtol=0, atol=1e-5)


def test_windows_of_a_song_join_to_the_whole(songs: dict[str, tuple[Path, Tensor]]) -> None:
    path, whole = songs["c.ogg"]
    with AudioFile(path) as file:
        parts = [file.read(at, at + 9_600) for at in range(0, file.num_samples, 9_600)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-5)


def test_a_negative_position_is_refused(songs: dict[str, tuple[Path, Tensor]]) -> None:
    with AudioFile(songs["a.wav"][0]) as file, pytest.raises(AudioError, match="from 0 on"):
        file.read(-5)


def test_windows_are_read_with_flat_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tracemalloc sees NumPy's memory, into which libsndfile decodes."""
    monkeypatch.setattr("heartopt.audio_read._HISTORY", 1 << 17)
    path = tmp_path / "a.ogg"
    with soundfile.SoundFile(path, "w", 8_000, 1) as long:
        for second in range(200):  # libsndfile's Vorbis encoder crashes on minutes in one call
            long.write(noise(1, 8_000, second).T.numpy())
    tracemalloc.start()
    with AudioFile(path) as file:
        for start in range(0, file.num_samples, 10 * SAMPLE_RATE):
            file.read(start, start + 10 * SAMPLE_RATE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_500_000  # the whole song: 6.4 MB


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused_with_their_second(tmp_path: Path, rate: int, value: float) -> None:
    audio = noise(2, 3 * rate)
    audio[1, int(1.25 * rate)] = value
    path = save(tmp_path / "a.wav", audio, rate, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"a\.wav: NaN or infinite sample at 1\.250 s"):
        read_audio(path)
    with AudioFile(path) as file:
        assert file.read(0, SAMPLE_RATE).shape == (2, SAMPLE_RATE)  # the sound part can be read


def test_zero_length_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"a\.wav: has no samples \(zero-length audio\)"):
        AudioFile(save(tmp_path / "a.wav", torch.zeros(2, 0), 48_000))


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_eight_channels_are_refused_or_mixed_down(tmp_path: Path, suffix: str) -> None:
    audio = noise(8, 4_800)
    path = save(tmp_path / f"a.{suffix}", audio, 48_000, subtype="PCM_24")
    with pytest.raises(AudioError, match="has 8 channels; pass --mixdown"):
        AudioFile(path)
    mixed = read_audio(path, mixdown=True)
    torch.testing.assert_close(mixed, audio.mean(0, keepdim=True), rtol=0, atol=2 * STEP)


def test_mixdown_leaves_stereo_stereo(tmp_path: Path) -> None:
    assert read_audio(save(tmp_path / "a.wav", noise(2, 480), 48_000), mixdown=True).shape == (2, 480)


@pytest.mark.parametrize("rate", [1, 900, 2_000_000])
def test_an_absurd_rate_is_refused(tmp_path: Path, rate: int) -> None:
    path = save(tmp_path / "a.wav", noise(1, 100), rate)
    with pytest.raises(AudioError, match=f"claims {rate} Hz"):
        AudioFile(path)


# --- tensors


def test_a_tensor_is_a_source_like_a_file(tmp_path: Path) -> None:
    audio = noise(2, 4_800)
    path = tmp_path / "a.wav"
    write_audio(path, audio)
    with AudioFile(path) as file:
        sources: list[AudioSource] = [file, AudioTensor(audio)]
        for source in sources:
            assert (source.channels, source.num_samples, source.seconds) == (2, 4_800, 0.1)
            torch.testing.assert_close(source.read(100, 200), audio[:, 100:200], rtol=0, atol=STEP)
            assert source.read(4_790, 5_000).shape == (2, 10)
            assert source.read(6_000).shape == (2, 0)


def test_a_vector_is_mono() -> None:
    assert AudioTensor(torch.zeros(10, dtype=torch.float64)).read().shape == (1, 10)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (torch.zeros(2, 10, dtype=torch.int16), "must be floating point"),
        (torch.zeros(3, 10), r"must be \[1 or 2 channels, samples\], not \[3, 10\]"),
        (torch.zeros(1, 2, 10), r"not \[1, 2, 10\]"),
        (torch.zeros(2, 0), "no samples"),
        (torch.tensor([[0.0, math.nan]]), "NaN or infinite sample at 0.000 s"),
    ],
)
def test_tensors_that_are_no_audio_are_refused(tmp_path: Path, audio: Tensor, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        AudioTensor(audio)
    with pytest.raises(AudioError, match=message):
        write_audio(tmp_path / "a.wav", audio)
    assert list(tmp_path.iterdir()) == []


def test_stereo_repeats_mono() -> None:
    audio = noise(2, 10)
    assert torch.equal(stereo(audio), audio)
    assert torch.equal(stereo(audio[:1]), audio[[0, 0]])
    with pytest.raises(AudioError, match="channels"):
        stereo(noise(3, 10))


# --- writing


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_written_comes_back(tmp_path: Path, suffix: str, channels: int) -> None:
    audio, path = noise(channels, 4_801), tmp_path / "new" / f"a{suffix}"
    write_audio(path, audio)
    assert soundfile.info(path).subtype == "PCM_24"
    assert soundfile.info(path).samplerate == SAMPLE_RATE
    torch.testing.assert_close(read_audio(path), audio, rtol=0, atol=STEP)


def test_what_is_too_loud_is_clipped(tmp_path: Path) -> None:
    audio = torch.tensor([[1.0, -1.0, 1.5, -7.0, 0.25]])
    write_audio(tmp_path / "a.wav", audio)
    torch.testing.assert_close(read_audio(tmp_path / "a.wav"), audio.clamp(-1, 1), rtol=0, atol=STEP)


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(1, 4_799), max_size=5))
def test_blocks_join_without_a_seam(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    audio, path = noise(2, 4_800), tmp_path_factory.mktemp("blocks") / "a.wav"
    borders = [0, *sorted(set(cuts)), 4_800]
    with AudioWriter(path) as writer:
        for start, stop in pairwise(borders):
            writer.write(audio[:, start:stop])
            assert not path.exists()
    torch.testing.assert_close(read_audio(path), audio, rtol=0, atol=STEP)


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, noise(1, 100))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), AudioWriter(path) as writer:
        writer.write(noise(2, 50))
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_without_samples_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no samples to write"), AudioWriter(tmp_path / "a.wav"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_block_of_other_channels_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(AudioError, match="has 1 channels, the file 2"),
        AudioWriter(tmp_path / "a.wav") as writer,
    ):
        writer.write(noise(1, 10))
    with pytest.raises(OutputError, match="only inside its with block"):
        writer.write(noise(2, 10))


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a"])
def test_other_formats_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(AudioError, match=r"written as \.wav or \.flac"):
        write_audio(tmp_path / name, noise(1, 10))


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_audio(tmp_path / "file" / "a.wav", noise(1, 10))
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_audio(tmp_path / "a.wav", noise(1, 10))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "file"]


def test_a_wav_never_passes_its_headers_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heartopt.audio._LARGEST_WAV", 600)
    write_audio(tmp_path / "a.wav", noise(2, 100))
    write_audio(tmp_path / "b.flac", noise(2, 101))
    with pytest.raises(OutputError, match=r"cannot pass 4 GiB; write \.flac"):
        write_audio(tmp_path / "c.wav", noise(2, 101))


def test_what_libsndfile_cannot_make_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"), AudioWriter(tmp_path / "a.flac", channels=300):
        pass
    assert list(tmp_path.iterdir()) == []


def test_numpy_reads_what_was_written(tmp_path: Path) -> None:
    audio = noise(2, 1_000)
    write_audio(tmp_path / "a.wav", audio, 44_100)
    samples, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == 44_100
    np.testing.assert_allclose(samples.T, audio.numpy(), rtol=0, atol=STEP)


def test_a_failure_to_write_names_the_file_and_not_the_temporary_one(tmp_path: Path, monkeypatch) -> None:
    def fail(file: bytes, *_args: object, **_kwargs: object) -> None:
        raise soundfile.LibsndfileError(2, prefix=f"Error opening {file!r}: ")

    monkeypatch.setattr(soundfile, "SoundFile", fail)
    with pytest.raises(OutputError) as caught:
        write_audio(tmp_path / "song.wav", torch.zeros(2, 10))
    assert str(caught.value) == f"cannot write {tmp_path / 'song.wav'}: System error"
    assert list(tmp_path.iterdir()) == []
