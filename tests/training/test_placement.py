"""Where the codec's parts lie. Without a GPU: `meta` stands for a device, or calls of `Module.to` are recorded."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from heartopt.codec import HeartCodec
from heartopt.tokens import TokenInfo, save_tokens
from heartopt.training import loop, start
from heartopt.training import run as run_module
from heartopt.training.clips import Clips
from heartopt.training.crops import Batch
from heartopt.training.draws import step_draws
from heartopt.training.placement import EVERYTHING, Parts, parts_of, place, placed, put_back
from heartopt.training.settings import TrainSettings, parse_objective
from heartopt.training.world import ALONE

META = torch.device("meta")
PARTS = {
    "flow": Parts(estimator=True),
    "bypass": Parts(waveform=True),
    "ode": EVERYTHING,
    "distill": Parts(),
    "flow=1,distill=0.3": Parts(estimator=True),
    "distill,bypass": Parts(waveform=True),
    "bypass=0.5,flow": EVERYTHING,
}
each_objective = pytest.mark.parametrize("objective", PARTS)


def devices(codec: HeartCodec) -> dict[str, set[str]]:
    """The devices of each part's tensors; `rest`: of those that belong to no part."""
    found: dict[str, set[str]] = {"estimator": set(), "scalar_model": set(), "quantizer": set(), "rest": set()}
    for name, tensor in [*codec.named_parameters(), *codec.named_buffers()]:
        own = name.removeprefix("flow_matching.").split(".")[0]
        part = "quantizer" if own in ("vq_embed", "cond_feature_emb") else own
        found[part if part in found else "rest"].add(tensor.device.type)
    return found


@each_objective
def test_an_objective_needs_these_parts(objective: str) -> None:
    assert parts_of(parse_objective(objective)) == PARTS[objective]


@each_objective
def test_the_parts_and_the_quantizer_go_to_the_device_and_the_others_stay(codec: HeartCodec, objective: str) -> None:
    moved, parts = copy.deepcopy(codec), PARTS[objective]
    place(moved, parts, META)
    found = devices(moved)
    assert found["estimator"] == {"meta" if parts.estimator else "cpu"}
    assert found["scalar_model"] == {"meta" if parts.waveform else "cpu"}
    assert found["quantizer"] == {"meta"}
    left = [name for name, p in moved.named_parameters() if p.device.type == "cpu"]
    if parts == EVERYTHING:  # what belongs to no part is used by none
        assert left == ["flow_matching.zero_cond_embedding1"]


def settings_of(objective: str) -> TrainSettings:
    return TrainSettings(
        projection_type="linear",
        hidden_dim=16,
        latent_dim=256,
        batch_size=2,
        frames=8,
        steps=4,
        learning_rate=1e-3,
        warmup_steps=0,
        grad_clip=0.5,
        weight_decay=0.0,
        commitment_weight=0.25,
        init="random",
        seed=0,
        max_seconds_per_song=None,
        objective=parse_objective(objective),
        ode_steps=2,
    )


@each_objective
def test_a_step_never_touches_the_other_parts(codec: HeartCodec, objective: str) -> None:
    """They hold no values at all (`meta`), and the step is the one that the whole codec gives."""
    random = torch.Generator().manual_seed(1)
    latents = torch.tanh(torch.randn(2, 8, 256, generator=random))
    audio = 0.1 * torch.randn(2, 2, 8 * codec.hop, generator=random)
    tokens = torch.randint(codec.config.codebook_size, (2, codec.config.num_quantizers, 4), generator=random)
    batch = Batch(latents, latents, torch.ones(2, 8, dtype=torch.bool), audio=audio, tokens=tokens)
    settings = settings_of(objective)
    draws = step_draws(settings, step=0, items=range(2), total=2, batch=batch)

    def step(own: HeartCodec) -> tuple[loop.Outcome, torch.Tensor]:
        state = start.new_state(settings, own, torch.device("cpu"))
        outcome = loop.take_step(state, [(batch, draws)], codec=own, settings=settings, world=ALONE, rate=1e-3)
        return outcome, torch.cat([p.detach().flatten() for p in state.model.parameters()])

    lean = copy.deepcopy(codec)
    if not PARTS[objective].estimator:
        lean.flow_matching.estimator.to(META)
    if not PARTS[objective].waveform:
        lean.scalar_model.to(META)
    lean.flow_matching.zero_cond_embedding1 = nn.Parameter(torch.empty(0, device=META))
    outcome, weights = step(lean)
    expected, whole = step(codec)
    assert outcome.applied
    assert outcome == expected
    assert torch.equal(weights, whole)


@pytest.fixture
def where(codec: HeartCodec, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Where each part was last asked to be, by `Module.to`: `cpu:0` is the device, `cpu` the machine's memory."""
    flow, real = codec.flow_matching, nn.Module.to
    names = {id(flow.estimator): "estimator", id(codec.scalar_model): "waveform", id(flow.vq_embed): "quantizer"}
    found = dict.fromkeys(names.values(), "cpu")

    def spy(self: nn.Module, *args: Any, **named: Any) -> nn.Module:
        if id(self) in names:
            found[names[id(self)]] = str(args[0])
        return real(self, *args, **named)

    monkeypatch.setattr(nn.Module, "to", spy)
    yield found


def expected(parts: Parts) -> dict[str, str]:
    used = {"estimator": parts.estimator, "waveform": parts.waveform, "quantizer": True}
    return {name: "cpu:0" if here else "cpu" for name, here in used.items()}


def test_what_is_placed_for_a_while_goes_back_also_after_an_error(codec: HeartCodec, where: dict[str, str]) -> None:
    device, after = torch.device("cpu:0"), Parts(waveform=True)
    with placed(codec, Parts(estimator=True), device, after=after):
        assert where == expected(Parts(estimator=True))
    assert where == expected(after)
    with pytest.raises(KeyboardInterrupt), placed(codec, EVERYTHING, device, after=Parts()):
        assert where == expected(EVERYTHING)
        raise KeyboardInterrupt
    assert where == expected(Parts())


def test_the_caller_gets_the_codec_back_where_it_was(codec: HeartCodec, where: dict[str, str]) -> None:
    with pytest.raises(KeyboardInterrupt), put_back(codec):
        place(codec, EVERYTHING, torch.device("cpu:0"))
        raise KeyboardInterrupt
    assert set(where.values()) == {"cpu"}


@pytest.mark.parametrize("objective", ["flow", "bypass", "ode", "distill"])
def test_while_a_run_trains_only_what_it_needs_is_on_the_device(
    run: Any,
    codec: HeartCodec,
    tmp_path: Path,
    where: dict[str, str],
    objective: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, list[dict[str, str]]] = {"step": [], "judge": [], "listen": []}
    monkeypatch.setattr(run_module, "draw_curves", lambda *_: None)  # slow, and uses nothing of the codec

    def watch(owner: Any, name: str, kind: str) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **named: Any) -> Any:
            seen[kind].append(dict(where))
            return real(*args, **named)

        monkeypatch.setattr(owner, name, call)

    watch(loop, "take_step", "step")
    watch(run_module, "validate", "judge")
    watch(Clips, "judge", "listen")
    config, tokens = codec.config, None
    if objective == "distill":
        tokens = tmp_path / "tokens"
        for name, frames in (("a", 42), ("b", 27), ("c", 19), ("deep/d", 33)):
            codes = torch.full((config.num_quantizers, frames), 3)
            info = TokenInfo("tiny", codec.fingerprint(), None, {}, frames, frames / 12.5)
            save_tokens(tokens / f"{name}.tokens.npy", codes, info)
    changed = {"num_val_samples": 1, "val_detokenize_steps": 1, "ode_steps": 1, "distill_tokens": tokens}
    run(objective=objective, steps=2, val_interval=0.1, device="cpu:0", **changed)
    assert seen["step"] == [expected(PARTS[objective])] * 2
    assert [there["estimator"] for there in seen["judge"]] == ["cpu:0"] * 2
    assert seen["listen"] == [expected(EVERYTHING)] * 2
    assert set(where.values()) == {"cpu"}
