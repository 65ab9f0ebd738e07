from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.training import loop, start
from heartopt.training.cache import LatentCache
from heartopt.training.checkpoints import restore_state, save_state
from heartopt.training.crops import CropSequence, Song
from heartopt.training.loop import Source, TrainingError, TrainState, learning_rate, make_scaler, train_steps
from heartopt.training.settings import TrainSettings
from heartopt.training.world import ALONE

SETTINGS = TrainSettings(
    projection_type="linear",
    hidden_dim=16,
    latent_dim=256,
    batch_size=2,
    frames=12,
    steps=8,
    learning_rate=3e-3,
    warmup_steps=2,
    grad_clip=0.5,
    weight_decay=0.01,
    commitment_weight=0.25,
    init="random",
    seed=0,
    max_seconds_per_song=None,
)


def new_state(codec: HeartCodec, settings: TrainSettings = SETTINGS) -> TrainState:
    return start.new_state(settings, codec, torch.device("cpu"))


@pytest.fixture
def crops(tmp_path: Path) -> CropSequence:
    source = torch.Generator().manual_seed(5)
    songs = []
    for name, frames in (("a", 40), ("b", 10)):
        entry = LatentCache(tmp_path, "f").store(name, "kind", torch.tanh(torch.randn(frames, 256, generator=source)))
        songs.append(Song(Path(name), name, name, entry, entry))
    return CropSequence(songs, frames=12, seed=0)


def test_the_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    settings = replace(SETTINGS, steps=110, warmup_steps=10)
    rates = [learning_rate(step, settings) / settings.learning_rate for step in range(111)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0)
    assert learning_rate(0, replace(SETTINGS, warmup_steps=0)) == SETTINGS.learning_rate


def weigh(terms: Mapping[str, float]) -> float:
    return terms["flow"] + 1.0 * terms["commitment"] + SETTINGS.l2_weight * terms["l2"]


def test_every_step_is_recorded_and_lowers_the_loss(codec: HeartCodec, crops: CropSequence) -> None:
    settings = replace(SETTINGS, steps=40, commitment_weight=1.0)
    records = list(train_steps(new_state(codec), codec=codec, source=Source(crops), settings=settings))
    assert [record.step for record in records] == list(range(1, 41))
    assert all(record.loss == pytest.approx(weigh(record.terms), rel=1e-5) for record in records)
    assert records[-1].epoch == pytest.approx(40 * 2 / 4)
    assert all(len(record.usage) == codec.config.num_quantizers for record in records)
    first, last = (sum(r.terms["commitment"] for r in part) / 10 for part in (records[:10], records[-10:]))
    assert last < 0.8 * first


def test_two_runs_are_equal_bit_for_bit_and_another_seed_is_not(codec: HeartCodec, crops: CropSequence) -> None:
    def weights(seed: int) -> torch.Tensor:
        state = new_state(codec)
        list(train_steps(state, codec=codec, source=Source(crops), settings=replace(SETTINGS, seed=seed)))
        return torch.cat([p.detach().flatten() for p in state.projection.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_accumulated_batches_make_the_step_of_one_large_batch(codec: HeartCodec, crops: CropSequence) -> None:
    def run(**changed: int) -> tuple[torch.Tensor, list[float]]:
        settings = replace(SETTINGS, steps=3, **changed)
        state = new_state(codec, settings)
        records = list(train_steps(state, codec=codec, source=Source(crops), settings=settings))
        weights = torch.cat([p.detach().flatten() for p in state.model.parameters()])
        return weights, [record.loss for record in records]

    whole, losses = run(batch_size=4, accumulate=1)
    parts, same = run(batch_size=2, accumulate=2)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
    assert same == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_stays_near_single(codec: HeartCodec, crops: CropSequence, precision: str) -> None:
    def losses(precision: str) -> list[float]:
        settings = replace(SETTINGS, steps=4, precision=precision)
        state = new_state(codec, settings)
        return [r.loss for r in train_steps(state, codec=codec, source=Source(crops), settings=settings)]

    assert losses(precision) == pytest.approx(losses("float32"), rel=0.05)


def test_progress_ends_with_the_run_though_a_range_test_takes_more_steps(
    codec: HeartCodec, crops: CropSequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = loop.objective_terms, []

    def watch(*args: Any, **named: Any) -> Any:
        seen.append(named["progress"])
        return real(*args, **named)

    monkeypatch.setattr(loop, "objective_terms", watch)
    settings = replace(SETTINGS, steps=3)
    state = new_state(codec, settings)
    for _ in range(5):
        parts = Source(crops).read(state.step, settings)
        loop.take_step(state, parts, codec=codec, settings=settings, world=ALONE, rate=1e-6)
    assert seen == [0.0, 0.5, 1.0, 1.0, 1.0]


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(
    codec: HeartCodec, crops: CropSequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.objective_terms

    def spoil_two(*args: Any, **named: Any) -> Any:
        result = real(*args, **named)
        if state.step == 3:
            result.terms["flow"] = result.terms["flow"] * float("nan")
        if state.step == 5:  # a finite loss, a gradient that is not
            result.terms["flow"] = result.terms["flow"] + (result.terms["flow"] * 0).sqrt()
        return result

    monkeypatch.setattr(loop, "objective_terms", spoil_two)
    state = new_state(codec)
    before: list[torch.Tensor] = []
    usage = state.usage
    skipped = []
    for record in train_steps(state, codec=codec, source=Source(crops), settings=SETTINGS):
        now = torch.cat([p.detach().flatten().clone() for p in state.projection.parameters()])
        if record.skipped:
            skipped.append(record.step)
            assert torch.equal(now, before[-1])
            assert torch.equal(state.usage, usage)
        before.append(now)
        usage = state.usage
    assert skipped == [4, 6]
    assert (state.skipped, state.skipped_in_a_row, state.step) == (2, 0, 8)
    assert torch.isfinite(before[-1]).all()


def test_a_run_that_learnt_nothing_does_not_end_well(codec: HeartCodec, crops: CropSequence) -> None:
    settings = replace(SETTINGS, steps=2)
    state = new_state(codec, settings)
    with torch.no_grad():
        state.projection.net[-1].bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(TrainingError, match="2 steps in a row"):
        list(train_steps(state, codec=codec, source=Source(crops), settings=settings))


def test_many_such_steps_in_a_row_stop_with_advice(
    codec: HeartCodec, crops: CropSequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MAX_SKIPPED_IN_A_ROW", 3)
    state = new_state(codec)
    with torch.no_grad():
        state.projection.net[-1].bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(TrainingError, match=r"3 steps in a row .* --lr 0.0015, --grad-clip 0.25.* --no-amp"):
        list(train_steps(state, codec=codec, source=Source(crops), settings=SETTINGS))
    assert state.step == 3


def test_a_scale_that_overflows_float16_falls_until_a_step_fits_and_is_kept(
    codec: HeartCodec, crops: CropSequence, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, precision="float16", steps=20)
    source = Source(crops)

    def with_scale(scale: float) -> TrainState:
        state = new_state(codec, settings)
        state.scaler.load_state_dict({**state.scaler.state_dict(), "scale": scale})
        return state

    def weights(state: TrainState) -> torch.Tensor:
        return torch.cat([p.detach().flatten().clone() for p in state.model.parameters()])

    def step(state: TrainState) -> bool:
        parts = source.read(state.step, settings)
        return loop.take_step(state, parts, codec=codec, settings=settings, world=ALONE, rate=1e-3).applied

    state = with_scale(2.0**30)
    start_weights = weights(state)
    while not step(state):
        assert torch.equal(weights(state), start_weights)
        assert not state.optimizer.state
        assert state.scaler.get_scale() == 2.0 ** (30 - state.step)
    assert 0 < state.skipped == state.step - 1
    assert state.skipped_in_a_row == 0
    assert state.scaler.get_scale() == 2.0 ** (30 - state.skipped)  # what fits stays
    assert not torch.equal(weights(state), start_weights)

    save_state(tmp_path / "state.safetensors", state, settings=settings, codec=codec, songs="")
    again = new_state(codec, settings)
    assert restore_state(tmp_path / "state.safetensors", again, settings=settings, codec=codec, songs="") == []
    assert again.scaler.state_dict() == state.scaler.state_dict()
    assert step(again) == step(state)
    assert torch.equal(weights(again), weights(state))


@pytest.mark.parametrize(
    ("precision", "weights", "scaled"),
    [
        ("float16", torch.float32, True),
        ("float32", torch.float16, True),  # gradients pass through them, and would underflow
        ("bfloat16", torch.bfloat16, False),
        ("float32", torch.float32, False),
    ],
)
def test_float16_is_scaled_wherever_it_is(precision: str, weights: torch.dtype, scaled: bool) -> None:
    scaler = make_scaler(torch.device("cpu"), replace(SETTINGS, precision=precision), weights)
    assert scaler.is_enabled() == scaled
