from __future__ import annotations

from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from heartopt.audio import AudioFile
from heartopt.errors import AudioError, ConfigError, HeartoptError
from heartopt.evaluation.lossy import LOSSY_CODECS, lossy_roundtrip

EXCERPT = Path(__file__).parents[2] / "benchmarks" / "suites" / "excerpts" / "living-caves.flac"


@pytest.fixture(scope="module")
def music() -> Tensor:
    with AudioFile(EXCERPT) as audio:
        return audio.read(0, 3 * 48_000)


def lag(audio: Tensor, later: Tensor) -> int:
    """By how many samples `later` lies behind `audio`: the peak of their cross-correlation."""
    size = 2 * audio.shape[-1]
    spectra = [torch.fft.rfft(x.double().mean(dim=0), size) for x in (audio, later)]
    peak = int(torch.fft.irfft(spectra[1] * spectra[0].conj(), size).argmax())
    return peak if peak < size // 2 else peak - size


def snr(audio: Tensor, target: Tensor) -> float:
    return float(10 * torch.log10(target.square().sum() / (audio - target).square().sum()))


def test_the_lag_is_measured_right(music: Tensor) -> None:
    assert [lag(music, music.roll(shift, -1)) for shift in (0, 1, -1, 1105)] == [0, 1, -1, 1105]


@pytest.mark.parametrize("codec", LOSSY_CODECS)
@pytest.mark.parametrize("samples", [3 * 48_000, 2 * 48_000 + 1])
def test_output_lies_where_the_input_lies_to_the_sample(codec: str, samples: int, music: Tensor) -> None:
    given = music[:, :samples]
    decoded, _ = lossy_roundtrip(given, codec, 128)
    assert decoded.shape == given.shape and decoded.dtype == given.dtype
    assert lag(given, decoded) == 0
    assert all(snr(decoded, given) > snr(decoded.roll(shift, -1), given) + 1 for shift in (1, -1))
    for part in (slice(0, 4096), slice(-4096, None)):
        assert snr(decoded[:, part], given[:, part]) > 8, "the ends are there as well"


@pytest.mark.parametrize(("codec", "lowest"), [("mp3", 16), ("mp3", 24), ("mp3", 32), ("opus", 16), ("aac", 32)])
def test_the_lowest_rates_keep_the_time_too(codec: str, lowest: int, music: Tensor) -> None:
    decoded, kbps = lossy_roundtrip(music, codec, lowest)
    assert lag(music, decoded) == 0
    assert kbps == pytest.approx(lowest, rel=0.15)


@pytest.mark.parametrize("codec", LOSSY_CODECS)
def test_more_bits_come_nearer_and_the_rate_is_the_actual_one(codec: str, music: Tensor) -> None:
    found = [lossy_roundtrip(music, codec, kbps) for kbps in (320, 128, 64, 32)]
    ratios = [snr(audio, music) for audio, _ in found]
    assert ratios == sorted(ratios, reverse=True) and ratios[0] - ratios[-1] > 10
    for (_, actual), nominal in zip(found, (320, 128, 64, 32), strict=True):
        assert actual == pytest.approx(nominal, rel=0.2)  # Opus has a variable rate


@pytest.mark.parametrize("codec", LOSSY_CODECS)
def test_channels_keep_their_sides(codec: str) -> None:
    time = torch.arange(48_000) / 48_000
    left = 0.5 * torch.sin(2 * torch.pi * 440 * time)
    decoded, _ = lossy_roundtrip(torch.stack([left, torch.zeros_like(left)]), codec, 128)
    assert decoded[0].square().mean() > 1000 * decoded[1].square().mean()


@pytest.mark.parametrize("codec", LOSSY_CODECS)
@pytest.mark.parametrize("samples", [1, 100, 1440])
def test_the_shortest_inputs_keep_their_length(codec: str, samples: int, music: Tensor) -> None:
    decoded, kbps = lossy_roundtrip(music[:, :samples], codec, 64)
    assert decoded.shape == (2, samples) and decoded.isfinite().all() and kbps > 0


@pytest.mark.parametrize("codec", LOSSY_CODECS)
def test_same_input_same_output(codec: str, music: Tensor) -> None:
    first, second = (lossy_roundtrip(music[:, :48_000], codec, 96) for _ in range(2))
    assert torch.equal(first[0], second[0]) and first[1] == second[1]


def test_unsupported_rates_and_codecs_name_what_there_is(music: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"mp3 has no 100 kbit/s: choose from 16, 24, 32, .*, 320"):
        lossy_roundtrip(music, "mp3", 100)
    with pytest.raises(ConfigError, match="opus has no 600 kbit/s: choose from 12 to 510"):
        lossy_roundtrip(music, "opus", 600)
    with pytest.raises(ConfigError, match="unknown lossy codec vorbis: choose from mp3, opus, aac"):
        lossy_roundtrip(music, "vorbis", 96)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (torch.zeros(1, 480), "stereo"),
        (torch.zeros(480), "stereo"),
        (torch.zeros(2, 0), "stereo"),
        (torch.zeros(2, 480, dtype=torch.int16), "floating-point"),
        (torch.full((2, 480), float("nan")), "NaN"),
    ],
)
def test_refuses_what_is_no_stereo_sound(audio: Tensor, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        lossy_roundtrip(audio, "mp3", 128)


def test_a_missing_encoder_is_one_line(music: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, mode: str) -> None:
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av, "Codec", missing)
    with pytest.raises(HeartoptError, match="opus: this FFmpeg has no encoder libopus; install PyAV") as caught:
        lossy_roundtrip(music, "opus", 64)
    assert "\n" not in str(caught.value)
