"""The loop that training's speed is measured against, and how the two are interleaved; on the tiny codec."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError
from heartopt.losses import mel_log1p, stft_log1p
from heartopt.training import SongReady, StepRecord

ROOT = Path(__file__).parents[2]
CODEC = ROOT / "tests" / "data" / "codec"
RATE = 48_000


def write_song(path: Path, seconds: float, *, seed: int, rate: int = RATE, level: float = 0.3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).standard_normal((round(seconds * rate), 2))
    soundfile.write(path, (level * noise).astype(np.float32), rate, subtype="FLOAT")
    return path


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("train_speed")


@pytest.fixture
def report(speed: Any) -> Any:
    return importlib.import_module("report_loop")


@pytest.fixture(scope="module")
def codec() -> HeartCodec:
    return HeartCodec.from_pretrained(CODEC)


@pytest.fixture
def songs(tmp_path: Path) -> list[Path]:
    return [write_song(tmp_path / "songs" / f"{n}.wav", 1.5 + 0.2 * n, seed=n) for n in range(4)]


def test_crops_are_random_mono_and_of_one_length(report: Any, tmp_path: Path) -> None:
    long = write_song(tmp_path / "long.wav", 3, seed=1)
    crops = report.RandomCrops([long, write_song(tmp_path / "short.wav", 1.2, seed=2, rate=24_000)], 2.0)
    torch.manual_seed(0)
    first, again = crops[0], crops[0]
    mean = torch.from_numpy(soundfile.read(long, dtype="float32")[0]).mean(1)
    assert first.shape == again.shape == (1, 2 * RATE)
    assert not torch.equal(first, again)
    places = mean.unfold(0, 8, 1)
    assert (places == first[0, :8]).all(1).any()
    short = crops[1]
    assert short.shape == (1, 2 * RATE)
    assert short[0, round(1.2 * RATE) :].abs().max() == 0
    assert short[0, : round(1.2 * RATE)].std() > 0.05


def test_what_cannot_be_used_is_replaced_and_loud_songs_are_scaled(report: Any, tmp_path: Path) -> None:
    loud = write_song(tmp_path / "loud.wav", 1.5, seed=1, level=3.0)
    (tmp_path / "text.wav").write_text("no audio")
    crops = report.RandomCrops([tmp_path / "text.wav", loud, write_song(tmp_path / "tiny.wav", 0.5, seed=2)], 1.0)
    torch.manual_seed(3)
    assert float(crops[1].abs().max()) <= 1.0
    found = [crops[index] for index in (0, 2) for _ in range(8)]
    assert any(float(crop.abs().max()) > 0.5 for crop in found)
    assert float(report.RandomCrops([tmp_path / "text.wav"], 1.0)[0].abs().max()) == 0


def test_quantization_is_greedy_and_straight_through_on_every_level(report: Any, codec: HeartCodec) -> None:
    flow = codec.flow_matching
    e = torch.randn(2, 5, codec.config.codebook_dim, generator=torch.Generator().manual_seed(0)).requires_grad_()
    vectors, commitment = report.quantize(e, flow.codebooks)
    expected = flow.quantize(e.detach())
    torch.testing.assert_close(vectors, expected.vectors)
    residual, distances = e.detach(), []
    for level, codebook in enumerate(flow.codebooks):
        chosen = codebook[expected.codes[:, level]]
        distances.append((residual - chosen).square().mean())
        residual = residual - chosen
    torch.testing.assert_close(commitment.detach(), torch.stack(distances).mean())
    (gradient,) = torch.autograd.grad(vectors.sum(), e)
    torch.testing.assert_close(gradient, torch.full_like(e, float(codec.config.num_quantizers)))


def test_it_encodes_before_the_tanh_without_keeping_a_graph(report: Any, codec: HeartCodec, songs: list[Path]) -> None:
    loop = report.ReportLoop(songs, codec, batch_size=2, seconds=0.96)
    audio = torch.randn(2, 46_080)
    latents = loop.encode(audio)
    assert not latents.requires_grad
    torch.testing.assert_close(latents.tanh(), codec.encode_channels(audio[:, None])[:, 0])


def test_a_step_learns_and_leaves_the_codec_alone(report: Any, codec: HeartCodec, songs: list[Path]) -> None:
    torch.manual_seed(0)
    loop = report.ReportLoop(songs, codec, batch_size=2, seconds=0.48, epochs=4, learning_rate=3e-3)
    before = [parameter.detach().clone() for parameter in loop.parameters]
    frozen = {name: tensor.clone() for name, tensor in codec.state_dict().items()}
    audio = next(loop.batches())
    losses = [loop.step(audio) for _ in range(6)]
    assert losses[-1] < losses[0]
    changed = [not torch.equal(a, b) for a, b in zip(before, loop.parameters, strict=True)]
    assert all(changed)
    assert all(torch.equal(frozen[name], tensor) for name, tensor in codec.state_dict().items())


def test_its_loss_is_the_reports_sum(report: Any, codec: HeartCodec, songs: list[Path]) -> None:
    torch.manual_seed(0)
    loop = report.ReportLoop(songs, codec, batch_size=2, seconds=0.96)
    audio = next(loop.batches())
    flow = codec.flow_matching
    with torch.no_grad():
        features = loop.projection(loop.encode(audio))
        vectors, commitment = report.quantize(flow.project_in(features), flow.codebooks)
        latents = loop.decoder(flow.vq_embed.project_out(vectors)).transpose(1, 2)
        heard = codec.scalar_model.decode(latents)[:, 0]
        losses = stft_log1p(heard, audio) + 0.5 * mel_log1p(heard, audio)  # the whole batch is one ratio
        expected = losses + 0.25 * commitment + 0.001 * features.square().mean()
    assert loop.step(audio) == pytest.approx(float(expected), rel=1e-5)


def test_an_epoch_drops_what_does_not_fill_a_batch(report: Any, codec: HeartCodec, songs: list[Path]) -> None:
    epoch = report.ReportLoop(songs, codec, batch_size=3, seconds=0.96).encode_epoch()
    assert epoch.audio == pytest.approx(3 * 0.96)
    assert epoch.wall > 0
    with pytest.raises(ConfigError, match="drops a last batch of fewer than 5"):
        report.ReportLoop(songs, codec, batch_size=5)


def test_epochs_alternate_and_the_first_of_each_is_not_counted(speed: Any, report: Any) -> None:
    told: list[str] = []

    def epoch() -> Any:
        told.append("theirs")
        return report.Epoch(10.0, float(len(told)), 0.5)

    alternate = speed.Alternate(SimpleNamespace(train_epoch=epoch), steps=2)
    alternate(SongReady(1, 1, "a", 3.0, True))
    for step in range(1, 7):
        told.append(f"step {step}")
        record = StepRecord(step, 6, 0.0, 1.0, {}, 1e-3, 1.0, (1,), False, 0.1, 4.0)
        alternate(record)
    assert told == ["step 1", "step 2", "theirs", "step 3", "step 4", "theirs", "step 5", "step 6", "theirs"]
    assert [epoch.audio for epoch in alternate.ours] == [8.0, 8.0]
    assert [epoch.wall for epoch in alternate.theirs] == [6.0, 9.0]


def test_the_whole_comparison(
    speed: Any, songs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "in_own_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr("heartopt.codec.model.RELEASE_DURATION", 1.92)  # the default crop
    arguments = ["--data-dir", str(songs[0].parent), "--codec", str(CODEC), "--json", str(tmp_path / "out.json")]
    small = ["--songs", "3", "--batch-size", "2", "--seconds", "0.96", "--epochs", "2"]
    assert speed.main([*arguments, *small, "--threads", "1", "--num-workers", "0"]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert set(found["training"]) == {"flow", "bypass", "default"}
    for name, comparison in found["training"].items():
        ratios = comparison["ratio"]
        assert len(ratios["all"]) == 2
        assert ratios["low"] <= ratios["median"] <= ratios["high"]
        pairs = zip(comparison["heartopt"]["all"], comparison["report"]["all"], strict=True)
        assert ratios["all"] == pytest.approx([own / other for own, other in pairs])
        assert comparison["crop_seconds"] == pytest.approx(1.92 if name == "default" else 0.96, rel=0.15)
        assert all(loss > 0 for loss in comparison["report_losses"])
    assert len(found["fill"]["ratio"]["all"]) == 2  # two songs, then one
    assert set(found["memory"]) == {"report", "flow", "bypass", "default"}
    assert all(found["memory"][name]["peak_mb"] >= found["memory"][name]["codec_mb"] for name in found["memory"])
    assert "the report's loop" in capsys.readouterr().err


def test_too_few_songs_are_one_line(speed: Any, songs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main(["--data-dir", str(songs[0].parent), "--codec", str(CODEC), "--songs", "4"]) == 1
    assert "holds 4 songs, 5 are needed" in capsys.readouterr().err


def test_a_process_of_its_own_is_another_one(speed: Any) -> None:
    common = importlib.import_module("train_common")
    assert common.in_own_process(os.getpid) != os.getpid()
    assert common.peak_mb() > 50
