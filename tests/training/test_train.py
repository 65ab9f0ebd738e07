from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from heartopt.audio import AudioTensor, read_audio
from heartopt.codec import HeartCodec
from heartopt.errors import AudioError, CheckpointError, ConfigError
from heartopt.projection import load_projection, tokenize_source
from heartopt.training import SongReady, StepRecord, TrainResult, ValidationRecord, train


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny songs are the same in every test: encode them once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(codec: HeartCodec, songs: Path, tmp_path: Path, shared_cache: Path) -> Any:
    """`train` on the tiny songs in six steps, with what a test changes."""

    def call(output: str = "run", **changed: Any) -> TrainResult:
        arguments: dict[str, Any] = {
            "data_dir": songs,
            "output_dir": tmp_path / output,
            "codec": codec,
            "projection_type": "linear",
            "hidden_dim": 16,
            "batch_size": 2,
            "max_duration": 0.48,
            "steps": 6,
            "lr": 3e-3,
            "warmup_steps": 2,
            "val_samples": 2,
            "save_interval": 2,
            "cache_dir": shared_cache,
        }
        return train(**(arguments | changed))

    return call


def same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_a_projection_that_tokenizes(run: Any, codec: HeartCodec, songs: Path) -> None:
    events: list[Any] = []
    result = run(progress=events.append, command="heartopt train songs", val_interval=0.2)
    assert (result.ended, result.step, result.steps, result.songs) == ("done", 6, 6, 3)
    kinds = [type(event) for event in events]
    assert (kinds.count(SongReady), kinds.count(StepRecord)) == (4, 6)
    assert [v.step for v in result.validations] == [e.step for e in events if isinstance(e, ValidationRecord)]
    assert result.best_flow == min(v.flow for v in result.validations)

    tokens = tokenize_source(AudioTensor(read_audio(songs / "a.wav")), codec, load_projection(result.projection))
    assert tokens.shape == (codec.config.num_quantizers, 42)
    card = json.loads(result.projection.with_suffix(".json").read_text())
    assert card["command"] == "heartopt train songs"
    assert card["fingerprint"] == codec.fingerprint()
    assert card["held_out"]["flow"] == result.best_flow
    assert card["step"] == result.best_step

    folder = result.projection.parent
    assert {path.name for path in folder.iterdir()} == {
        "best_projection.json",
        "best_projection.safetensors",
        "latest.json",
        "latest.safetensors",
        "metrics.jsonl",
        "skipped.tsv",
        "training.log",
    }
    assert "ended (done) after step 6 of 6" in (folder / "training.log").read_text()


def test_a_resumed_run_equals_an_uninterrupted_one(run: Any, tmp_path: Path) -> None:
    whole = run("whole")
    steps: list[int] = []

    def stop_after_three() -> bool:
        return len(steps) == 3

    def count(event: object) -> None:
        if isinstance(event, StepRecord):
            steps.append(event.step)

    first = run("parts", stop=stop_after_three, progress=count)
    assert (first.ended, first.step) == ("stopped", 3)
    second = run("parts", resume="auto")
    assert (second.ended, second.step) == ("done", 6)
    assert same(tmp_path / "whole/latest.safetensors", tmp_path / "parts/latest.safetensors")
    assert same(whole.projection, second.projection)
    assert second.best_flow == whole.best_flow


def test_resuming_from_an_older_file_repeats_the_rest(run: Any, tmp_path: Path) -> None:
    run("run", stop=lambda: True)
    shutil.copy(tmp_path / "run/latest.safetensors", tmp_path / "early.safetensors")
    run("run", resume="auto")
    again = run("again", resume=tmp_path / "early.safetensors")
    assert again.best_flow == min(record.flow for record in again.validations)
    load_projection(again.projection)
    assert same(tmp_path / "run/latest.safetensors", tmp_path / "again/latest.safetensors")


def test_the_budget_stops_and_saves(run: Any, tmp_path: Path) -> None:
    result = run(budget=1e-6)
    assert (result.ended, result.step) == ("budget", 1)
    assert json.loads((tmp_path / "run/latest.json").read_text())["step"] == 1


def test_a_second_run_encodes_nothing(run: Any, tmp_path: Path) -> None:
    assert run("one", steps=1, cache_dir=tmp_path / "cache").encoded_seconds > 9
    assert run("two", steps=1, cache_dir=tmp_path / "cache").encoded_seconds == 0


def test_epochs_are_counted_in_crops(run: Any) -> None:
    # 0.48 s crops are 12 latent frames; a tenth (one song) of the four is held out.
    result = run(epochs=1, steps=None)
    frames = {"a.wav": 84, "b.wav": 54, "c.flac": 38, "deep/d.wav": 66}
    (held_out,) = json.loads(result.projection.with_suffix(".json").read_text())["validation"]["songs"]
    crops = sum(round(count / 12) for name, count in frames.items() if name != held_out)
    assert result.steps == -(-crops // 2)


@pytest.mark.parametrize(("kind", "hidden", "width"), [("conv1d", 16, 256), ("query", 64, 256), ("linear", 16, 128)])
def test_other_projections_train(run: Any, kind: str, hidden: int, width: int) -> None:
    result = run(projection_type=kind, hidden_dim=hidden, latent_dim=width, steps=2)
    projection = load_projection(result.projection)
    assert (projection.projection_type, projection.latent_dim) == (kind, width)
    assert result.skipped_steps == 0


def test_given_validation_songs_are_the_ones_judged(run: Any, tmp_path: Path, make_song: Any) -> None:
    make_song(tmp_path / "val" / "v.wav", 1.4, seed=8)
    result = run(val_dir=tmp_path / "val")
    card = json.loads(result.projection.with_suffix(".json").read_text())
    assert card["validation"] == {"songs": ["v.wav"], "note": "given"}
    assert result.songs == 4


def test_few_files_and_skipped_ones_are_told(
    run: Any, songs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (songs / "text.wav").write_text("no audio")
    result = run()
    assert [skipped.path.name for skipped in result.skipped_files] == ["text.wav"]
    assert "text.wav" in (tmp_path / "run/skipped.tsv").read_text()
    assert "only 3 training songs" in caplog.text


def test_the_callers_random_state_is_left_alone(run: Any) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    run(steps=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_folder_with_a_run_is_not_overwritten_unasked(run: Any, tmp_path: Path) -> None:
    run(steps=1)
    with pytest.raises(ConfigError, match="--resume auto"):
        run()
    assert run(overwrite=True).step == 6


def test_a_checkpoint_that_does_not_fit_is_refused(run: Any, tmp_path: Path) -> None:
    run(steps=1)
    with pytest.raises(CheckpointError, match="trained with hidden_dim 16, not 24"):
        run(resume="auto", hidden_dim=24)
    (tmp_path / "run/latest.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match="not a training state"):
        run(resume="auto")
    with pytest.raises(CheckpointError, match="no such file"):
        run(resume=tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 2}, "steps and epochs"),
        ({"steps": 0}, "steps must be"),
        ({"val_interval": 0}, "val_interval must be"),
        ({"latent_dim": 64}, "latent_dim is 64"),
        ({"max_seconds_per_song": 0.1}, "max_seconds_per_song"),
        ({"resume": "auto", "overwrite": True}, "resume and overwrite"),
        ({"init": "zeros"}, "init must be"),
        ({"projection_type": "mlp"}, "choose one of linear"),
        ({"budget": -1}, "budget is -1"),
        ({"max_duration": 0.0}, "max_duration"),
    ],
)
def test_contradictions_are_refused_before_any_song_is_read(
    run: Any, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(cache_dir=tmp_path / "cache", **changed)
    assert not (tmp_path / "cache").exists()


def test_a_folder_without_audio_is_refused(run: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError):
        run(data_dir=tmp_path / "empty")
