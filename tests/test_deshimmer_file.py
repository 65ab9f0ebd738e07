"""The shimmer remover on files: the same as in memory, at the file's own rate, never clipping, nothing half-written."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from heartopt.deshimmer import deshimmer
from heartopt.deshimmer_file import HIGHEST_PEAK, deshimmer_file
from heartopt.errors import AudioError, ConfigError
from heartopt.shimmer import DeshimmerParams

EAGER = DeshimmerParams(slope=1.0, density=(0.05, 0.5), flatness=(0.0, 0.2))
STEP = 2**-22  # two steps of 24-bit PCM


def ringing(seconds: float, rate: int, *, channels: int = 2, level: float = 1.0, quiet_until: float = 0.0) -> Tensor:
    """Noise in which three narrow tones ring from `quiet_until` on, `[C, N]`."""
    samples = round(seconds * rate)
    time = torch.arange(samples, dtype=torch.float64) / rate
    audio = 0.02 * torch.randn(channels, samples, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    birdies = sum((torch.sin(2 * math.pi * hertz * time) for hertz in (5507, 6117, 6796)), torch.zeros(samples))
    return (level * (audio + 0.008 * birdies * (time >= quiet_until))).float()


def save(path: Path, audio: Tensor, rate: int, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, audio.T.numpy(), rate, subtype=subtype)
    return path


def load(path: Path) -> tuple[Tensor, int]:
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(audio.T), rate


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (44_100, 1), (16_000, 2)])
def test_a_file_is_the_same_as_its_samples_at_its_own_rate(tmp_path: Path, rate: int, channels: int) -> None:
    audio = ringing(3.2, rate, channels=channels)
    song = save(tmp_path / "song.wav", audio, rate)
    found = deshimmer_file(song, tmp_path / "out.flac", EAGER, difference=tmp_path / "gone.wav")
    kept, kept_rate = load(tmp_path / "out.flac")
    gone, gone_rate = load(tmp_path / "gone.wav")
    wanted = deshimmer(audio, rate, EAGER)
    assert (kept_rate, gone_rate, found.sample_rate, found.channels) == (rate, rate, rate, channels)
    torch.testing.assert_close(kept, wanted, rtol=0, atol=STEP)
    torch.testing.assert_close(kept + gone, audio, rtol=0, atol=2 * STEP)
    assert found.seconds == pytest.approx(3.2)
    assert found.gain_db == 0
    energies = [float(part.double().square().sum()) for part in (audio - wanted, audio)]
    assert found.removed_db == pytest.approx(10 * math.log10(energies[0] / energies[1]), abs=0.01)


def test_what_would_clip_is_scaled_and_still_the_same_sound(tmp_path: Path) -> None:
    audio = ringing(1.0, 48_000, level=30.0)
    assert audio.abs().max() > 2
    song = save(tmp_path / "loud.wav", audio, 48_000)
    shares: list[float] = []
    found = deshimmer_file(song, tmp_path / "out.wav", EAGER, difference=tmp_path / "gone.wav", progress=shares.append)
    kept, _ = load(tmp_path / "out.wav")
    gone, _ = load(tmp_path / "gone.wav")
    gain = 10 ** (found.gain_db / 20)
    assert kept.abs().max() == pytest.approx(HIGHEST_PEAK, abs=STEP)
    torch.testing.assert_close(kept, gain * deshimmer(audio, 48_000, EAGER), rtol=0, atol=STEP)
    torch.testing.assert_close(kept + gone, gain * audio, rtol=0, atol=2 * STEP)
    assert shares.count(1.0) == 2  # the second pass is told as well


def test_full_scale_itself_is_left_as_it_is(tmp_path: Path) -> None:
    audio = torch.sin(2 * math.pi * 440 * torch.arange(48_000) / 48_000)[None] / 1.0001
    audio[0, 20_000] = -1.0
    song = save(tmp_path / "song.wav", audio, 48_000)
    assert deshimmer_file(song, tmp_path / "out.wav", DeshimmerParams(threshold=90.0)).gain_db == 0
    torch.testing.assert_close(load(tmp_path / "out.wav")[0][:, 240:-240], audio[:, 240:-240], rtol=0, atol=STEP)


def test_the_passage_with_most_shimmer_is_found(tmp_path: Path) -> None:
    song = save(tmp_path / "song.wav", ringing(30.0, 16_000, quiet_until=15.0), 16_000)
    found = deshimmer_file(song, tmp_path / "out.wav", EAGER)
    assert 10.9 <= found.most_removed <= 22  # ten seconds from there, but for one block of 4.1 s, ring


def test_silence_loses_nothing(tmp_path: Path) -> None:
    song = save(tmp_path / "song.wav", torch.zeros(2, 30_000), 48_000)
    found = deshimmer_file(song, tmp_path / "out.wav")
    assert (found.removed_db, found.gain_db, found.most_removed) == (-math.inf, 0.0, 0.0)
    assert load(tmp_path / "out.wav")[0].count_nonzero() == 0


@pytest.mark.parametrize(
    ("rate", "samples", "params", "kind", "words"),
    [
        (8_000, 9_000, DeshimmerParams(), AudioError, "16000 Hz or more"),
        (16_000, 9_000, DeshimmerParams(high=9_000.0), ConfigError, "band ends at 9000 Hz"),
    ],
)
def test_what_cannot_be_done_leaves_no_file(
    tmp_path: Path, rate: int, samples: int, params: DeshimmerParams, kind: type[Exception], words: str
) -> None:
    song = save(tmp_path / "song.wav", torch.zeros(1, samples), rate)
    with pytest.raises(kind, match=words):
        deshimmer_file(song, tmp_path / "out.wav", params, difference=tmp_path / "gone.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]


def test_a_nan_late_in_the_file_leaves_no_file(tmp_path: Path) -> None:
    audio = np.zeros((400_000, 1), dtype=np.float32)
    audio[390_000] = np.nan
    soundfile.write(tmp_path / "song.wav", audio, 48_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"at 8\.125 s"):
        deshimmer_file(tmp_path / "song.wav", tmp_path / "out.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]
