"""Decoders on files made here: positions are exact in every format, damage and lies are found."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from heartopt import audio_read
from heartopt.audio_read import ForwardDecoder, SeekingDecoder, open_decoder
from heartopt.errors import AudioError

RATE = 44_100
LOSSLESS = ["song.wav", "song.flac", "song.aiff", "song.au", "song.w64", "song.rf64"]
SOUNDFILE_LOSSY = ["song.ogg", "song.opus", "song.mp3"]
PYAV = ["song.m4a", "song.aac", "song.mka"]


def music(seconds: float = 4.0, rate: int = RATE) -> NDArray[np.float32]:
    """A stereo chirp under noise ``[n, 2]``: no stretch of it resembles another."""
    t = np.arange(round(rate * seconds)) / rate
    chirp = 0.3 * np.sin(2 * np.pi * (200 * t + 400 * t**2))
    noise = 0.05 * np.random.default_rng(0).standard_normal((len(t), 2))
    return (chirp[:, None] * [1.0, 0.5] + noise).astype(np.float32)


def write_av(path: Path, samples: NDArray[np.float32], rate: int = RATE, **options: str) -> None:
    """Encode ``samples [n, 2]`` with FFmpeg: AAC, or MP3 where the name says so."""
    codec = "libmp3lame" if path.suffix == ".mp3" else "aac"
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "stereo"
        stream.bit_rate = 192_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = rate, 0
        converter = av.AudioResampler(format=stream.format.name, layout="stereo", rate=rate)
        for part in [*converter.resample(frame), *converter.resample(None), None]:
            container.mux(stream.encode(part))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One song in every format."""
    path = tmp_path_factory.mktemp("formats")
    for name in LOSSLESS + SOUNDFILE_LOSSY:
        form = {"opus": "OGG", "aiff": "AIFF"}.get(name.partition(".")[2])
        rate = 48_000 if name.endswith("opus") else RATE
        soundfile.write(path / name, music(), rate, format=form, subtype="OPUS" if "opus" in name else None)
    for name in PYAV:
        write_av(path / name, music())
    soundfile.write(path / "vbr.mp3", music(), RATE, bitrate_mode="VARIABLE", compression_level=0.3)
    write_av(path / "headerless.mp3", music(), write_xing="0")
    return path


def lag_of(decoded: NDArray[np.float32], source: NDArray[np.float32]) -> int:
    """By how many samples ``decoded`` is late, from the peak of the cross-correlation of their left channels."""
    size = 1 << 18
    spectrum = np.fft.rfft(decoded[:, 0], size) * np.conj(np.fft.rfft(source[:, 0], size))
    lag = int(np.argmax(np.fft.irfft(spectrum, size)))
    return lag - size if lag > size // 2 else lag


@pytest.mark.parametrize("name", [*LOSSLESS, *SOUNDFILE_LOSSY, *PYAV, "vbr.mp3", "headerless.mp3"])
def test_any_position_equals_a_straight_run(folder: Path, name: str) -> None:
    straight = open_decoder(folder / name)
    blocks = [straight.read(at, min(at + 7_001, straight.frames)) for at in range(0, straight.frames, 7_001)]
    whole = np.concatenate(blocks)
    assert whole.shape == (straight.frames, 2)
    decoder = open_decoder(folder / name)
    rng = np.random.default_rng(1)
    starts = [decoder.frames - 3, 0, 1, 1_105, *rng.integers(0, decoder.frames - 2_000, 25).tolist()]
    for start in starts:
        stop = min(start + 2_000, decoder.frames)
        np.testing.assert_array_equal(decoder.read(start, stop), whole[start:stop])
    decoder.close()
    straight.close()


@pytest.mark.parametrize("name", [*LOSSLESS, "song.ogg", "song.mp3", "vbr.mp3"])
def test_length_and_start_are_the_sources(folder: Path, name: str) -> None:
    decoder = open_decoder(folder / name)
    assert (decoder.rate, decoder.channels, decoder.frames) == (RATE, 2, len(music()))
    assert lag_of(decoder.read(0, decoder.frames), music()) == 0


def test_lossless_samples_are_the_sources(folder: Path) -> None:
    for name in LOSSLESS:
        decoder = open_decoder(folder / name)
        assert isinstance(decoder, SeekingDecoder)
        np.testing.assert_allclose(decoder.read(0, decoder.frames), music(), rtol=0, atol=2**-15)


@pytest.mark.parametrize("name", PYAV)
def test_aac_starts_where_the_source_starts(folder: Path, name: str) -> None:
    """The encoder put 1024 samples before the song; they are gone."""
    decoder = open_decoder(folder / name)
    assert isinstance(decoder, ForwardDecoder)
    decoded = decoder.read(0, decoder.frames)
    assert lag_of(decoded, music()) == 0
    error = decoded[4_096 : len(music()) - 4_096] - music()[4_096:-4_096]
    assert np.sqrt(np.mean(error**2)) < 0.05  # the noise of 0.05 is not coded as it is; a late chirp: 0.2


def test_m4a_ends_where_the_source_ends(folder: Path) -> None:
    """To the millisecond in which MP4 counts."""
    assert 0 <= open_decoder(folder / "song.m4a").frames - len(music()) <= RATE // 1_000


def test_an_mp3_without_a_header_is_counted(folder: Path) -> None:
    """Its claimed length is a guess from the bit rate, longer than what comes."""
    decoder = open_decoder(folder / "headerless.mp3")
    assert decoder.frames % 1_152 == 0
    assert len(decoder.read(0, decoder.frames)) == decoder.frames


def test_what_was_decoded_last_is_not_decoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_read, "_BLOCK", 4_096)
    monkeypatch.setattr(audio_read, "_HISTORY", 20_000)
    runs = 0
    samples = music()

    def blocks():  # type: ignore[no-untyped-def]
        nonlocal runs
        runs += 1
        yield from (samples[at : at + 4_096] for at in range(0, len(samples), 4_096))

    decoder = ForwardDecoder(Path("song"), blocks, RATE, 2, len(samples))
    for start in range(0, len(samples) - 15_000, 5_000):  # overlaps of 10,000 samples
        np.testing.assert_array_equal(decoder.read(start, start + 15_000), samples[start : start + 15_000])
        assert sum(len(block) for _, block in decoder._kept) < 20_000 + 15_000
    assert runs == 1
    np.testing.assert_array_equal(decoder.read(0, 10), samples[:10])
    assert runs == 2


@pytest.mark.parametrize("name", ["long.wav", "long.flac"])
def test_a_window_of_a_long_file_reads_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    soundfile.write(tmp_path / name, np.tile(music(), (15, 1)), RATE)
    asked: list[int] = []
    read = soundfile.SoundFile.read

    def count(self: soundfile.SoundFile, frames: int, **options: object) -> NDArray[np.float32]:
        asked.append(frames)
        return read(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", count)
    decoder = open_decoder(tmp_path / name)
    assert decoder.read(RATE * 30, RATE * 31).shape == (RATE, 2)
    assert sum(asked) <= RATE + 1  # one more to see that the end is there


def cut(path: Path, to: Path, size: int) -> Path:
    to.write_bytes(path.read_bytes()[:size])
    return to


@pytest.mark.parametrize("name", ["song.wav", "song.flac", "song.mp3", "song.ogg", "song.aac"])
def test_a_file_cut_in_half_gives_what_is_there(folder: Path, tmp_path: Path, name: str) -> None:
    path = cut(folder / name, tmp_path / name, (folder / name).stat().st_size // 2)
    decoder, whole = open_decoder(path), open_decoder(folder / name)
    assert 0.2 * whole.frames < decoder.frames < 0.8 * whole.frames
    got = decoder.read(0, decoder.frames)
    sure = decoder.frames - 5_000  # the last frames of a cut file lack the bits that they share with the next
    np.testing.assert_allclose(got[:sure], whole.read(0, sure), rtol=0, atol=1e-6)


def test_a_wav_whose_header_claims_more_gives_what_is_there(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "song.wav").read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = (0xFFFF_FFF0).to_bytes(4, "little")
    (tmp_path / "lie.wav").write_bytes(content)
    decoder = open_decoder(tmp_path / "lie.wav")
    assert decoder.frames == len(music())
    assert len(decoder.read(0, decoder.frames)) == len(music())


def test_a_flac_of_unstated_length_is_counted(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "song.flac").read_bytes())
    content[21] &= 0xF0  # STREAMINFO: 36 bits of length, zero when unknown
    content[22:26] = bytes(4)
    (tmp_path / "stream.flac").write_bytes(content)
    assert open_decoder(tmp_path / "stream.flac").frames == len(music())


def test_a_half_file_that_claims_to_be_whole_is_told_of(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    size = (folder / "song.flac").stat().st_size // 2
    open_decoder(cut(folder / "song.flac", tmp_path / "half.flac", size))
    [record] = caplog.records
    assert "half.flac: breaks off at " in record.getMessage()
    assert "of the 4.0 s that it claims to have" in record.getMessage()


def test_damage_in_the_middle_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("song.flac", "song.ogg", "song.aac"):
        content = bytearray((folder / name).read_bytes())
        middle = len(content) // 2
        content[middle : middle + 8_000] = bytes(8_000)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError, match=r"damaged|breaks off") as caught:
            decoder = open_decoder(tmp_path / name)
            decoder.read(0, decoder.frames)
        assert "\n" not in str(caught.value)


TEXT = b"These are words, not sounds.\n" * 200


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus", ".txt", ""])
@pytest.mark.parametrize("content", [TEXT, bytes(50_000), b"x", b"RIFF\0\0\0\0WAVEfmt "])
def test_what_is_not_audio_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, content: bytes
) -> None:
    path = tmp_path / f"words{suffix}"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"decoded|no audio") as caught:
        open_decoder(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["song.mp3", "song.flac", "song.ogg", "song.m4a"])
def test_a_file_cut_so_that_nothing_can_be_decoded_is_refused(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    path = cut(folder / name, tmp_path / name, 300)
    with pytest.raises(AudioError, match="decoded"):
        open_decoder(path)
    assert capfd.readouterr().err == ""


def test_missing_empty_folder_and_headerless_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"none\.wav: no such file"):
        open_decoder(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="is a folder"):
        open_decoder(tmp_path)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match=r"empty \(0 bytes\)"):
        open_decoder(tmp_path / "empty.wav")
    (tmp_path / "a.raw").write_bytes(TEXT)
    with pytest.raises(AudioError, match="headerless"):
        open_decoder(tmp_path / "a.raw")
    with pytest.raises(AudioError, match="File name too long"):
        open_decoder(tmp_path / ("n" * 300))


def test_names_that_mean_something_to_ffmpeg_are_names(folder: Path, tmp_path: Path) -> None:
    for name in ("concat:a|b.m4a", "http:x.m4a", "täst %03d ü.m4a"):
        path = tmp_path / name
        path.write_bytes((folder / "song.m4a").read_bytes())
        assert open_decoder(path).channels == 2


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match="has no audio in it"):
        open_decoder(path)
