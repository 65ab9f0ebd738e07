from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from heartopt.audio import AudioTensor, read_audio
from heartopt.codec import HeartCodec
from heartopt.errors import AudioError, CheckpointError, ConfigError
from heartopt.projection import load_projection, tokenize_source
from heartopt.training import SongReady, StepRecord, StoppedEarly, ValidationRecord, request
from heartopt.training.run import Run

CODEC = Path(__file__).parents[1] / "data" / "codec"


def same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_a_projection_that_tokenizes(run: Any, codec: HeartCodec, songs: Path) -> None:
    events: list[Any] = []
    result = run(progress=events.append, command="heartopt train songs")
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
        "best_projection.pt",
        "best_projection.safetensors",
        "latest.json",
        "latest.safetensors",
        "metrics.jsonl",
        "checkpoint_epoch0001.json",
        "checkpoint_epoch0001.safetensors",
        "curves.png",
        "skipped.tsv",
        "tensorboard",
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
    run("run", steps=1)
    shutil.copy(tmp_path / "run/latest.safetensors", tmp_path / "early.safetensors")
    run("run", resume="auto")
    again = run("again", resume=tmp_path / "early.safetensors")
    assert again.best_flow == min(record.flow for record in again.validations)
    load_projection(again.projection)
    assert same(tmp_path / "run/latest.safetensors", tmp_path / "again/latest.safetensors")


def test_best_figures_do_not_outlive_their_projections(run: Any, tmp_path: Path) -> None:
    clips = {"num_val_samples": 1, "val_detokenize_steps": 1, "val_interval": 0.5}
    first = run("run", **clips)
    assert math.isfinite(first.best_stft)
    for folder in ("run", "other"):
        again = run(folder, resume=tmp_path / "run/latest.safetensors", **clips)
        assert math.isfinite(again.best_stft) == (tmp_path / folder / "best_projection_stft.safetensors").is_file()
        assert again.projection.is_file()


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


def test_a_crop_is_the_codecs_window_by_default(run: Any, codec: HeartCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "default_duration", 0.96)
    result = run(max_duration=None, steps=1)
    assert json.loads(result.projection.with_suffix(".json").read_text())["settings"]["frames"] == 24


def test_intervals_longer_than_any_run_are_fine(run: Any) -> None:
    result = run(steps=2, val_interval=1e308, max_seconds_per_song=1e308)
    assert [record.step for record in result.validations] == [0, 2]


def test_it_trains_in_a_caller_without_gradients(run: Any, tmp_path: Path) -> None:
    run("plain", steps=2)
    with torch.inference_mode():
        run("inference", steps=2)
        assert torch.is_inference_mode_enabled()
    with torch.no_grad():
        run("no_grad", steps=2)
    for other in ("inference", "no_grad"):
        assert same(tmp_path / "plain/latest.safetensors", tmp_path / other / "latest.safetensors")


def test_a_codec_without_gradients_is_refused(run: Any) -> None:
    with torch.inference_mode():
        codec = HeartCodec.from_pretrained(CODEC)
    with pytest.raises(ConfigError, match=r"loaded under torch\.inference_mode"):
        run(codec=codec)


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
    assert "only 4 songs" in caplog.text


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


def test_overwriting_leaves_nothing_of_the_old_run_but_its_log(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(steps=1)
    before = {path.name for path in (tmp_path / "run").iterdir()}
    with pytest.raises(ConfigError, match="latent_dim"):
        run(overwrite=True, latent_dim=64)
    assert {path.name for path in (tmp_path / "run").iterdir()} == before
    found: list[set[str]] = []

    def look(self: Run) -> str:
        found.append({path.name for path in self.output_dir.iterdir()})
        return "done"

    monkeypatch.setattr(Run, "fit", look)
    run(overwrite=True)
    assert found == [{"skipped.tsv", "training.log", "tensorboard"}]


def test_a_checkpoint_that_does_not_fit_is_refused(run: Any, tmp_path: Path) -> None:
    run(steps=1)
    with pytest.raises(CheckpointError, match="trained with hidden_dim 16, not 24"):
        run(resume="auto", hidden_dim=24)
    (tmp_path / "run/latest.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match="not a training state"):
        run(resume="auto")
    with pytest.raises(CheckpointError, match="no such file"):
        run(resume=tmp_path / "gone.safetensors")


def test_a_resumed_run_keeps_the_learning_rate_that_was_found(run: Any, tmp_path: Path) -> None:
    whole = run("whole", find_lr=True)
    steps: list[StepRecord] = []

    def hear(event: Any) -> None:
        if isinstance(event, StepRecord):
            steps.append(event)

    run("part", find_lr=True, progress=hear, stop=lambda: len(steps) == 3)
    again = run("part", find_lr=True, resume="auto", progress=hear)
    assert again.step == whole.step == len(steps)
    assert same(tmp_path / "whole/latest.safetensors", tmp_path / "part/latest.safetensors")
    found = json.loads((tmp_path / "part/latest.json").read_text())["settings"]["learning_rate"]
    assert max(step.learning_rate for step in steps) == pytest.approx(found)


@pytest.mark.parametrize("changed", [{"val_crops": 3}, {"val_dir": True}])
def test_best_figures_of_other_held_out_songs_are_forgotten(
    run: Any, tmp_path: Path, make_song: Any, caplog: pytest.LogCaptureFixture, changed: dict[str, Any]
) -> None:
    caplog.set_level(logging.WARNING)
    if "val_dir" in changed:
        changed = {"val_dir": make_song(tmp_path / "val/new.wav", 2.0, seed=9).parent}
    first = run("run")
    again = run("run", resume="auto", steps=8)
    assert again.best_flow <= first.best_flow
    assert "held-out songs or crops" not in caplog.text
    state = load_state("run", tmp_path)
    other = run("run", resume="auto", steps=10, **changed)
    assert "best flow" in caplog.text and "held-out songs or crops" in caplog.text
    assert other.validations[0].step == 8 and other.validations[0].best  # judged anew before the next step
    assert load_state("run", tmp_path)["judges"]["flow"] != state["judges"]["flow"]


def load_state(name: str, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name / "latest.json").read_text())
    return found


def test_looking_for_a_learning_rate_can_be_stopped(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[float] = []

    def look(step: Callable[[float], float]) -> None:
        for _ in range(60):
            steps.append(step(1e-3))

    monkeypatch.setattr(request, "find_learning_rate", look)
    with pytest.raises(StoppedEarly, match="run it again"):
        run(find_lr=True, stop=lambda: len(steps) == 3)
    assert len(steps) == 3
    assert not list(tmp_path.glob("run/*.safetensors"))


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
        ({"budget": -1}, "budget must be"),
        ({"budget": math.nan}, "budget must be"),
        ({"val_interval": math.inf}, "val_interval must be"),
        ({"val_crops": 0}, "val_crops must be"),
        ({"num_val_samples": 9}, "num_val_samples must be"),
        ({"deshimmer": True}, "deshimmer is given"),
        ({"objective": "stft"}, "objective 'stft'"),
        ({"objective": "distill"}, "need each other"),
        ({"distill_tokens": Path("tokens")}, "need each other"),
        ({"use_cache": False}, "cache_dir and no-cache"),
        ({"cache_size": 0.0}, "cache_size must be"),
        ({"quantizer": "rounding"}, "quantizer 'rounding'"),
        ({"precision": "int8"}, "precision 'int8'"),
        ({"max_duration": math.nan}, "max_duration must be"),
        ({"max_duration": math.inf}, "max_duration must be"),
        ({"max_seconds_per_song": math.inf}, "max_seconds_per_song must be"),
        ({"lr": math.inf}, "learning_rate must be"),
        ({"max_duration": 0.0}, "max_duration"),
        ({"max_duration": 1e308}, "max_duration must be at most"),
        ({"lr": 1e300}, "learning_rate must be at most"),
        ({"init": "x" * 300}, "init must be"),
        ({"objective": "distill", "distill_tokens": Path("x" * 300)}, "is no folder of tokens"),
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
