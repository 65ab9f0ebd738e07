import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from heartopt.codec.solver import draw_picks
from heartopt.optimize import FlowSettings, OdeSettings, OptimizeSettings
from heartopt.optimize.objective import decode_windows, flow_losses, sound_terms
from heartopt.optimize.phases import PHASES, SHORTEST_PIECE, FlowPhase, OdePhase, Windows
from heartopt.optimize.times import TimeSampler, draw_noise
from heartopt.seeding import keyed_generator

SETTINGS = OptimizeSettings(
    flow=FlowSettings(draws=3),
    ode=OdeSettings(solver_steps=2, gradient_steps=1, mel_weight=0.5),
    seed=7,
)
# Batches of another size, in float32.
ROUNDING = {"rtol": 1e-4, "atol": 1e-6}


def windows_of(codec, cases):
    return Windows(codec, tuple(case.target for case in cases), tuple(case.window.index for case in cases))


def slope_of(phase, cases):
    vectors = torch.cat([case.vectors for case in cases]).requires_grad_(True)
    return phase.draw()(vectors)


def test_vectors_are_split_as_windows_have_free_frames(codec, cases):
    windows = windows_of(codec, cases)
    vectors = torch.cat([case.vectors for case in cases])
    for own, case in zip(windows.split(vectors), cases, strict=True):
        assert torch.equal(own, case.vectors)
    conditions = windows.conditions(vectors)
    assert conditions.shape == (3, 12, 64)
    for own, case in zip(conditions, cases, strict=True):
        assert torch.equal(own, case.target.condition(codec.flow_matching, case.vectors)[0])


def test_a_window_draws_the_same_in_any_company(codec, cases):
    for phase in PHASES.values():
        together = slope_of(phase(windows_of(codec, cases), SETTINGS), cases)
        alone = [slope_of(phase(windows_of(codec, [case]), SETTINGS), [case]) for case in cases]
        assert_close(together.losses, tuple(one.losses[0] for one in alone), **ROUNDING)
        assert_close(together.gradient, torch.cat([one.gradient for one in alone]), **ROUNDING)
        assert_close(together.stfts, tuple(one.stfts[0] for one in alone), equal_nan=True, **ROUNDING)


@pytest.mark.parametrize("phase", PHASES.values())
def test_each_step_each_window_and_each_seed_draws_anew(codec, cases, phase):
    twins = [cases[1], replace(cases[1], window=replace(cases[1].window, index=5))]
    one = phase(windows_of(codec, twins), SETTINGS)
    first, second = slope_of(one, twins), slope_of(one, twins)
    other = slope_of(phase(windows_of(codec, twins), replace(SETTINGS, seed=8)), twins)
    assert len({*first.losses, *second.losses, *other.losses}) == 6
    assert slope_of(phase(windows_of(codec, twins), SETTINGS), twins).losses == first.losses


@pytest.mark.parametrize("phase", PHASES.values())
def test_the_slope_of_a_step_may_be_asked_for_twice(codec, cases, phase):
    """As it is where memory runs out in between."""
    slope = phase(windows_of(codec, cases), SETTINGS).draw()
    vectors = torch.cat([case.vectors for case in cases]).requires_grad_(True)
    one, two = slope(vectors), slope(vectors)
    assert one.losses == two.losses
    assert torch.equal(one.gradient, two.gradient)


def test_the_flows_slope_is_that_of_the_mean_of_its_draws(codec, cases):
    flow, settings = codec.flow_matching, replace(SETTINGS, flow=FlowSettings(draws=3, times="importance"))
    phase = FlowPhase(windows_of(codec, cases), settings)
    for number, sampler in enumerate(phase.samplers):
        for _ in range(8):  # each window learns by itself
            sampler.learn((torch.arange(10) + 0.5) / 10, torch.arange(1.0, 11.0) + 20 * number)
    found = slope_of(phase, cases)
    for number, case in enumerate(cases):
        sampler, generator = TimeSampler(settings.flow), keyed_generator(7, "flow", number)
        for _ in range(8):
            sampler.learn((torch.arange(10) + 0.5) / 10, torch.arange(1.0, 11.0) + 20 * number)
        times, weights = sampler.draw(generator)
        assert not torch.equal(weights, torch.ones(3))
        noise = draw_noise(3, 12, 256, generator)
        vectors = case.vectors.clone().requires_grad_(True)
        mu = case.target.condition(flow, vectors).expand(3, -1, -1)
        loss = (weights * flow_losses(flow, [case.target] * 3, mu, times=times, noise=noise)).mean()
        (gradient,) = torch.autograd.grad(loss, vectors)
        assert_close(found.losses[number], float(loss.detach()), **ROUNDING)
        assert_close(windows_of(codec, cases).split(found.gradient)[number], gradient, **ROUNDING)
    assert all(math.isnan(value) for value in found.stfts)


def test_the_flow_learns_its_losses_without_their_weights(codec, cases):
    phase = FlowPhase(windows_of(codec, cases[:1]), SETTINGS)
    found = slope_of(phase, cases[:1])
    seen = [loss for part in phase.samplers[0].seen for loss in part]
    assert len(seen) == 3
    assert_close(sum(seen) / 3, found.losses[0], **ROUNDING)


def test_the_sounds_slope_is_that_of_the_weighted_terms(codec, cases):
    settings = replace(SETTINGS, ode=replace(SETTINGS.ode, draws=2))
    found = slope_of(OdePhase(windows_of(codec, cases), settings), cases)
    for number, case in enumerate(cases):
        generator = keyed_generator(7, "ode", number)
        noise = draw_noise(2, 12, 256, generator)
        picks = [draw_picks(1, 2, generator) for _ in range(2)]
        vectors = case.vectors.clone().requires_grad_(True)
        losses, stfts = [], []
        for drawn, picked in zip(noise, picks, strict=True):
            latents = decode_windows(
                codec.flow_matching,
                [case.target],
                case.target.condition(codec.flow_matching, vectors),
                noise=drawn[None],
                picks=picked[None],
                guidance_scale=SETTINGS.guidance_scale,
                num_steps=2,
            )
            terms = sound_terms(codec, case.target, latents[0], SETTINGS.ode)
            losses.append(terms["stft"] + 0.5 * terms["mel"])
            stfts.append(float(terms["stft"].detach()))
        loss = torch.stack(losses).mean()
        (gradient,) = torch.autograd.grad(loss, vectors)
        assert_close(found.losses[number], float(loss.detach()), **ROUNDING)
        assert_close(found.stfts[number], sum(stfts) / 2, **ROUNDING)
        # Through an STFT of small magnitudes.
        assert_close(windows_of(codec, cases).split(found.gradient)[number], gradient, rtol=1e-3, atol=1e-5)


def test_a_silent_window_has_no_slope_and_leaves_the_others_theirs(codec, cases):
    silent = replace(cases[1], target=replace(cases[1].target, audio=torch.zeros_like(cases[1].target.audio)))
    windows = windows_of(codec, [cases[0], silent, cases[2]])
    found = slope_of(OdePhase(windows, SETTINGS), cases)
    usual = slope_of(OdePhase(windows_of(codec, cases), SETTINGS), cases)
    parts, others = windows.split(found.gradient), windows.split(usual.gradient)
    assert found.losses[1] == 0
    assert torch.equal(parts[1], torch.zeros_like(parts[1]))
    for number in (0, 2):
        assert_close(found.losses[number], usual.losses[number], **ROUNDING)
        assert_close(parts[number], others[number], rtol=1e-3, atol=1e-5)


def test_halving_ends_and_does_not_change_the_flows_slope(codec, cases):
    windows = windows_of(codec, cases)
    whole = slope_of(FlowPhase(windows, SETTINGS), cases)
    sizes = []
    phase = FlowPhase(windows, SETTINGS)
    while phase.halve():
        sizes.append(phase.at_once)
        phase.generators = windows.generators(7, "flow")
        found = slope_of(phase, cases)
        assert_close(found.losses, whole.losses, **ROUNDING)
        assert_close(found.gradient, whole.gradient, **ROUNDING)
    assert sizes == [4, 2, 1]


def test_halving_ends_and_does_not_change_the_sounds_slope(codec, cases):
    windows = windows_of(codec, cases[:2])
    settings = replace(SETTINGS, ode=replace(SETTINGS.ode, piece_seconds=1.5))
    whole = slope_of(OdePhase(windows, settings), cases[:2])
    phase, states = OdePhase(windows, settings), []
    while phase.halve():
        states.append((phase.at_once, phase.settings.piece_seconds, phase.settings.checkpointing))
        phase.generators = windows.generators(7, "ode")
        found = slope_of(phase, cases[:2])
        assert_close(found.losses, whole.losses, **ROUNDING)
        assert_close(found.gradient, whole.gradient, rtol=1e-3, atol=1e-5)
    assert states == [(1, 1.5, False), (1, 0.75, False), (1, SHORTEST_PIECE, False), (1, SHORTEST_PIECE, True)]
