from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.projection import EncoderProjection
from heartopt.training import loop
from heartopt.training.cache import LatentCache
from heartopt.training.crops import CropSequence, Song
from heartopt.training.loop import TrainingError, TrainState, learning_rate, make_optimizer, train_steps
from heartopt.training.settings import TrainSettings

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
    torch.manual_seed(0)
    projection = EncoderProjection(256, codec.config.dim, settings.hidden_dim)
    return TrainState(projection, make_optimizer(projection, settings))


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


def test_every_step_is_recorded_and_lowers_the_loss(codec: HeartCodec, crops: CropSequence) -> None:
    settings = replace(SETTINGS, steps=40, commitment_weight=1.0)
    records = list(train_steps(new_state(codec), codec=codec, crops=crops, settings=settings))
    assert [record.step for record in records] == list(range(1, 41))
    assert all(record.loss == pytest.approx(record.flow + record.commitment, rel=1e-5) for record in records)
    assert records[-1].epoch == pytest.approx(40 * 2 / 4)
    assert all(len(record.usage) == codec.config.num_quantizers for record in records)
    first, last = (sum(r.commitment for r in part) / 10 for part in (records[:10], records[-10:]))
    assert last < 0.8 * first


def test_two_runs_are_equal_bit_for_bit_and_another_seed_is_not(codec: HeartCodec, crops: CropSequence) -> None:
    def weights(seed: int) -> torch.Tensor:
        state = new_state(codec)
        list(train_steps(state, codec=codec, crops=crops, settings=replace(SETTINGS, seed=seed)))
        return torch.cat([p.detach().flatten() for p in state.projection.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(
    codec: HeartCodec, crops: CropSequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.flow_terms

    def spoil_fourth(*args: object) -> object:
        result = real(*args)  # type: ignore[arg-type]
        if state.step == 3:
            result.terms["flow"] = result.terms["flow"] * float("nan")
        if state.step == 5:  # a finite loss, a gradient that is not
            result.terms["flow"] = result.terms["flow"] + (result.terms["flow"] * 0).sqrt()
        return result

    monkeypatch.setattr(loop, "flow_terms", spoil_fourth)
    state = new_state(codec)
    before: list[torch.Tensor] = []
    skipped = []
    for record in train_steps(state, codec=codec, crops=crops, settings=SETTINGS):
        now = torch.cat([p.detach().flatten().clone() for p in state.projection.parameters()])
        if record.skipped:
            skipped.append(record.step)
            assert torch.equal(now, before[-1])
        before.append(now)
    assert skipped == [4, 6]
    assert (state.skipped, state.skipped_in_a_row, state.step) == (2, 0, 8)
    assert torch.isfinite(before[-1]).all()


def test_many_such_steps_in_a_row_stop_with_advice(
    codec: HeartCodec, crops: CropSequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MAX_SKIPPED_IN_A_ROW", 3)
    state = new_state(codec)
    with torch.no_grad():
        state.projection.net[-1].bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(TrainingError, match=r"3 steps in a row .* lower --lr"):
        list(train_steps(state, codec=codec, crops=crops, settings=SETTINGS))
    assert state.step == 3
