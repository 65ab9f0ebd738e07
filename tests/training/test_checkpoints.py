from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from heartopt.codec import HeartCodec
from heartopt.errors import CheckpointError, OutputError
from heartopt.training import start
from heartopt.training.checkpoints import read_state, restore_state, save_epoch, save_state
from heartopt.training.loop import TrainState
from heartopt.training.settings import TrainSettings

SETTINGS = TrainSettings(
    projection_type="linear",
    hidden_dim=16,
    latent_dim=256,
    batch_size=2,
    frames=12,
    steps=10,
    learning_rate=1e-2,
    warmup_steps=0,
    grad_clip=0.5,
    weight_decay=0.01,
    commitment_weight=0.25,
    init="random",
    seed=0,
    max_seconds_per_song=None,
)


def new_state(codec: HeartCodec, settings: TrainSettings = SETTINGS, *, seed: int = 0) -> TrainState:
    state = start.new_state(replace(settings, seed=seed), codec, torch.device("cpu"))
    state.usage += seed
    return state


def step(state: TrainState) -> None:
    """One optimizer step on a loss that depends on the step."""
    loss = sum((p - state.step).square().sum() for p in state.projection.parameters())
    assert isinstance(loss, torch.Tensor)
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
    state.step += 1


@pytest.fixture
def saved(codec: HeartCodec, tmp_path: Path) -> Path:
    state = new_state(codec)
    for _ in range(3):
        step(state)
    state.best_flow, state.best_step, state.skipped = 0.5, 2, 1
    state.usage[0, 3] = 7.5
    save_state(tmp_path / "latest.safetensors", state, settings=SETTINGS, codec=codec, songs="abc")
    return tmp_path / "latest.safetensors"


def restore(path: Path, state: TrainState, codec: HeartCodec, **changed: Any) -> list[str]:
    return restore_state(path, state, settings=replace(SETTINGS, **changed), codec=codec, songs="abc")


def test_a_restored_run_goes_on_as_if_never_stopped(codec: HeartCodec, saved: Path) -> None:
    straight = new_state(codec)
    for _ in range(5):
        step(straight)
    resumed = new_state(codec, seed=9)
    assert restore(saved, resumed, codec) == []
    assert (resumed.step, resumed.best_flow, resumed.best_step, resumed.skipped) == (3, 0.5, 2, 1)
    assert (resumed.best_stft, resumed.best_stft_step) == (math.inf, -1)
    assert resumed.usage.sum() == resumed.usage[0, 3] == 7.5
    step(resumed)
    step(resumed)
    for a, b in zip(straight.projection.parameters(), resumed.projection.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_differs_but_may_is_named(codec: HeartCodec, saved: Path) -> None:
    changes = restore_state(saved, new_state(codec), settings=replace(SETTINGS, steps=99), codec=codec, songs="others")
    assert changes == ["steps was 10 and is now 99", "the training songs are not the same as before"]


def test_another_shape_or_type_is_refused(codec: HeartCodec, saved: Path) -> None:
    wider = replace(SETTINGS, hidden_dim=32)
    with pytest.raises(CheckpointError, match="trained with hidden_dim 16, not 32"):
        restore_state(saved, new_state(codec, wider), settings=wider, codec=codec, songs="abc")
    with pytest.raises(CheckpointError, match="trained with projection_type linear, not conv1d"):
        restore(saved, new_state(codec), codec, projection_type="conv1d")


def test_the_decoder_of_bypass_comes_and_goes_with_its_objective(codec: HeartCodec, tmp_path: Path) -> None:
    bypass = replace(SETTINGS, objective={"bypass": 1.0})
    state = new_state(codec, bypass)
    step(state)
    save_state(tmp_path / "latest.safetensors", state, settings=bypass, codec=codec, songs="abc")
    again = new_state(codec, bypass, seed=4)
    restore_state(tmp_path / "latest.safetensors", again, settings=bypass, codec=codec, songs="abc")
    assert all(torch.equal(a, b) for a, b in zip(state.model.parameters(), again.model.parameters(), strict=True))
    with pytest.raises(CheckpointError, match="trained with objective bypass, not flow"):
        restore(tmp_path / "latest.safetensors", new_state(codec), codec)


def test_the_newest_epochs_stay(codec: HeartCodec, tmp_path: Path) -> None:
    for epoch in (5, 10, 9999, 10000):
        save_epoch(tmp_path, epoch, 2, new_state(codec), settings=SETTINGS, codec=codec, songs="abc")
    names = [f"checkpoint_epoch{epoch}.{kind}" for epoch in (10000, 9999) for kind in ("json", "safetensors")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_another_codec_is_refused(codec: HeartCodec, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_fingerprint", "0" * 64)
    with pytest.raises(CheckpointError, match="another codec"):
        restore(saved, new_state(codec), codec)


def test_tensors_that_do_not_fit_their_header_are_refused(codec: HeartCodec, saved: Path) -> None:
    header, tensors = read_state(saved)
    name = "optimizer.0.exp_avg"
    save_file({**tensors, name: torch.zeros(3)}, saved, metadata={"heartopt": json.dumps(header)})
    with pytest.raises(CheckpointError, match="does not fit"):
        restore(saved, new_state(codec), codec)


class Poison:
    """Runs code where it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


def test_a_poisoned_pickle_is_refused_without_being_run(codec: HeartCodec, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    for name in ("latest.safetensors", "latest.pt"):
        (tmp_path / name).write_bytes(pickle.dumps(Poison(proof)))
        with pytest.raises(CheckpointError, match="not a training state that can be read"):
            restore(tmp_path / name, new_state(codec), codec)
    assert not proof.exists()


def test_damage_other_safetensors_and_poisoned_values_are_refused(codec: HeartCodec, saved: Path) -> None:
    header, tensors = read_state(saved)
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="not a training state that can be read"):
        read_state(saved)
    save_file(tensors, saved)
    with pytest.raises(CheckpointError, match="no training state"):
        read_state(saved)
    for change in ({name: None} for name in ("settings", "step")):
        save_file(tensors, saved, metadata={"heartopt": json.dumps(header | change)})
        with pytest.raises(CheckpointError, match="no training state"):
            read_state(saved)
    for name in ("fingerprint", "scaler", "best_flow"):
        rest = {key: value for key, value in header.items() if key != name}
        save_file(tensors, saved, metadata={"heartopt": json.dumps(rest)})
        with pytest.raises(CheckpointError, match="no training state"):
            read_state(saved)
    tensors["optimizer.1.exp_avg"][0] = float("nan")
    save_file(tensors, saved, metadata={"heartopt": json.dumps(header)})
    with pytest.raises(CheckpointError, match=r"not finite in optimizer\.1\.exp_avg"):
        read_state(saved)


def test_a_file_that_cannot_grow_is_one_error_and_the_old_state_stays(codec: HeartCodec, saved: Path) -> None:
    resource = pytest.importorskip("resource")
    before = saved.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*safetensors"):
            save_state(saved, new_state(codec), settings=SETTINGS, codec=codec, songs="x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir() if path.name.startswith(".")] == []


def test_the_state_is_safetensors_with_a_readable_copy_of_its_header(codec: HeartCodec, saved: Path) -> None:
    tensors = load_file(saved)
    assert {name.split(".")[0] for name in tensors} == {"model", "optimizer", "usage"}
    header = json.loads(saved.with_suffix(".json").read_text())
    assert header["step"] == 3
    assert TrainSettings(**header["settings"]) == SETTINGS
    assert header["fingerprint"] == codec.fingerprint()
