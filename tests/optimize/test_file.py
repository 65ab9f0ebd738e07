import json

import pytest
import soundfile
import torch

from heartopt import EncoderProjection
from heartopt.audio import read_audio, write_audio
from heartopt.errors import AudioError
from heartopt.optimize import OptimizeSettings, optimize_file
from heartopt.tokens import load_tokens

SETTINGS = OptimizeSettings(steps=2, draws=1, duration=7.44, num_steps=1, select_seeds=1, judge_seeds=1, seed=4)


@pytest.fixture
def run(codec):
    torch.manual_seed(0)
    projection = EncoderProjection(256, 64, 64).eval()

    def run(path, stem, **rest):
        return optimize_file(
            path, stem=stem, codec=codec, projection=projection, projection_name="p", settings=SETTINGS, **rest
        )

    return run


def test_a_song_becomes_tokens_and_audio_of_its_length(run, codec, audio, tmp_path):
    write_audio(tmp_path / "song.wav", audio[:, :40_001])
    report = run(tmp_path / "song.wav", tmp_path / "out" / "song", keep_start=True)
    tokens, info = load_tokens(report.tokens, num_quantizers=4, codebook_size=128)
    assert tokens.shape == (4, 11)
    assert (info.frames, info.codec, info.fingerprint) == (11, codec.name, codec.fingerprint())
    assert info.seconds == pytest.approx(40_001 / 48_000)
    assert info.settings["steps"] == 2
    assert info.settings["seed"] == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "song.optimized.wav",
        "song.start.wav",
        "song.tokens.json",
        "song.tokens.npy",
    ]
    assert read_audio(report.audio).shape == (2, 40_001)
    assert soundfile.info(report.audio).samplerate == 48_000
    assert report.rtf == pytest.approx(report.wall_seconds / report.seconds)
    assert set(report.start) == set(report.result) == {"stft", "mel", "shimmer_db"}
    assert json.loads(report.tokens.with_suffix(".json").read_text())["settings"]["method"] == "optimize"


def test_a_song_that_breaks_half_way_leaves_nothing(run, audio, tmp_path):
    broken = audio.clone()
    broken[0, 30_000] = float("nan")
    soundfile.write(tmp_path / "song.wav", broken.T.numpy(), 48_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN"):
        run(tmp_path / "song.wav", tmp_path / "out" / "song")
    assert not list(tmp_path.glob("out/*"))
