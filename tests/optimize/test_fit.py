import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from heartopt import HeartCodec
from heartopt.audio import AudioTensor
from heartopt.errors import HeartoptError
from heartopt.optimize import FlowSettings, OdeSettings, OptimizeSettings, fit, phases
from heartopt.optimize.fit import MOST_SKIPPED, RATE_FROM_ELSEWHERE, RATE_FROM_TOKENS, fit_windows, has_settled
from heartopt.optimize.objective import decode_windows
from heartopt.optimize.phases import PHASES, Windows
from heartopt.optimize.window import window_target

ODE = OdeSettings(solver_steps=2, gradient_steps=1)
# Batches of another size, in float32.
ROUNDING = {"rtol": 1e-4, "atol": 1e-6}


def told(objective="flow", steps=3, **rest):
    return OptimizeSettings(**{"objective": objective, "steps": steps, "ode": ODE, **rest})


def fitted(codec, cases, settings):
    windows = Windows(codec, tuple(case.target for case in cases), tuple(case.window.index for case in cases))
    return list(fit_windows(windows, [case.vectors for case in cases], settings))


def silent(case):
    return replace(case, target=replace(case.target, audio=torch.zeros_like(case.target.audio)))


@pytest.fixture(scope="module")
def mini():
    """The embedded codec: unlike the tests' own, its decoder listens to what it is given."""
    return HeartCodec.from_pretrained("mini")


@pytest.mark.parametrize(
    ("objective", "steps", "quantizer"),
    [("flow", 8, quantizer) for quantizer in ("straight-through", "gumbel", "soft", "none")]
    + [("ode", 4, "straight-through"), ("hybrid", 6, "straight-through")],
)
def test_fitting_lowers_what_is_fitted_of_the_codes_too(mini, plan, objective, steps, quantizer):
    time = torch.arange(4 * 3840) / 48_000
    tones = [0.1 * torch.sin(2 * torch.pi * hertz * time) for hertz in (110, 220, 277, 330, 1320)]
    audio = torch.stack((sum(tones[:3]), sum(tones[2:]))) * torch.exp(-3 * time)
    codes = torch.randint(0, mini.config.codebook_size, (8, 4), generator=torch.Generator().manual_seed(0))
    target = window_target(mini, AudioTensor(audio), next(plan.windows(4)), codes)
    windows = Windows(mini, (target,), (0,))
    start = mini.flow_matching.code_sum(codes[None])[0]
    settings = told(
        objective,
        steps,
        quantizer=quantizer,
        temperature=(3.0, 0.3),
        flow=FlowSettings(draws=3, learning_rate=0.05),
        ode=replace(ODE, learning_rate=0.1),
    )
    *_, last = fit_windows(windows, [start], settings)
    measure = replace(settings, seed=99, flow=FlowSettings(draws=16), ode=replace(ODE, draws=2))
    for name in {"hybrid": ("flow", "ode")}.get(objective, (objective,)):
        slope = PHASES[name](windows, measure).draw()
        vectors = mini.flow_matching.quantize(torch.stack((start, last.vectors[0]))).vectors
        before, after = (slope(own.requires_grad_(True)).losses[0] for own in vectors)
        assert after < 0.95 * before


@pytest.mark.parametrize("quantizer", ["straight-through", "gumbel", "soft", "none"])
def test_the_same_seed_fits_the_same(codec, cases, quantizer):
    settings = told("hybrid", 4, flow_share=0.5, quantizer=quantizer, temperature=(1.0, 0.1))
    one, two = (fitted(codec, cases[1:2], settings) for _ in range(2))
    assert [(a.losses, a.objective) for a in one] == [(b.losses, b.objective) for b in two]
    assert torch.equal(one[-1].vectors[0], two[-1].vectors[0])
    other = fitted(codec, cases[1:2], replace(settings, seed=1))
    assert all(a.losses != b.losses for a, b in zip(one, other, strict=True))


def test_steps_are_numbered_over_both_phases(codec, cases):
    records = fitted(codec, cases[2:], told("hybrid", 5, flow_share=0.4))
    assert [(record.step, record.objective) for record in records] == [
        (step, "flow" if step <= 2 else "ode") for step in range(1, 6)
    ]
    for record in records:
        assert math.isfinite(record.losses[0])
        assert math.isnan(record.stfts[0]) == (record.objective == "flow")
        assert record.note is None


def test_no_steps_are_no_records(codec, cases):
    assert fitted(codec, cases, told("hybrid", 0)) == []


def test_the_second_phase_goes_on_from_the_first(codec, cases):
    flow = fitted(codec, cases[2:], told("flow", 2))
    both = fitted(codec, cases[2:], told("hybrid", 3, flow_share=0.7))
    assert torch.equal(both[1].vectors[0], flow[1].vectors[0])
    # Adam's first step is of about the learning rate.
    assert_close((both[2].vectors[0] - both[1].vectors[0]).abs().max(), torch.tensor(0.015), rtol=1e-3, atol=0)


@pytest.mark.parametrize("quantizer", ["straight-through", "none"])
@pytest.mark.parametrize("objective", ["flow", "ode"])
def test_a_step_goes_down_the_gradient_of_loss_and_commitment(codec, cases, objective, quantizer):
    settings = told(
        objective,
        1,
        quantizer=quantizer,
        adaptive=False,
        flow=FlowSettings(learning_rate=0.5, commitment=0.3),
        ode=replace(ODE, learning_rate=0.5, commitment=0.3),
    )
    (record,) = fitted(codec, cases, settings)
    windows = Windows(codec, tuple(case.target for case in cases), (0, 1, 2))
    e = torch.cat([case.vectors for case in cases])
    nearest = codec.flow_matching.quantize(e[None]).vectors[0]
    given = nearest if quantizer == "straight-through" else e
    slope = PHASES[objective](windows, settings).draw()(given.clone().requires_grad_(True))
    assert_close(record.losses, slope.losses, **ROUNDING)
    pulls = [2 * 0.3 * (own - code) / own.numel() for own, code in zip(*map(windows.split, (e, nearest)), strict=True)]
    wanted = e - 0.5 * (slope.gradient + torch.cat(pulls))
    # Through an STFT of small magnitudes.
    assert_close(torch.cat(record.vectors), wanted, rtol=1e-3, atol=1e-5)
    assert (torch.cat(pulls)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("start", "given", "rate"),
    [("tokens", None, RATE_FROM_TOKENS), ("zero", None, RATE_FROM_ELSEWHERE), ("tokens", 0.03, 0.03)],
)
def test_the_rate_of_the_flow_depends_on_the_start(codec, cases, start, given, rate):
    settings = told("flow", 1, start=start, flow=FlowSettings(learning_rate=given))
    (record,) = fitted(codec, cases[:1], settings)
    # Adam's first step is of the learning rate in every coordinate.
    assert_close((record.vectors[0] - cases[0].vectors).abs().median(), torch.tensor(rate), rtol=1e-3, atol=0)


def test_windows_are_fitted_together_as_alone(codec, cases):
    together = fitted(codec, cases, told("hybrid", 4))
    for number, case in enumerate(cases):
        for one, other in zip(fitted(codec, [case], told("hybrid", 4)), together, strict=True):
            assert_close(one.losses[0], other.losses[number], rtol=1e-4, atol=1e-4)
        # Adam's first steps are of full size even where the gradient is near zero and its sign is rounding.
        assert ((one.vectors[0] - other.vectors[number]).abs() < 1e-4).float().mean() > 0.9


def test_a_silent_window_is_not_fitted_to_its_sound(codec, cases, monkeypatch):
    case = silent(cases[1])
    assert fitted(codec, [case], told("ode")) == []
    monkeypatch.setattr(fit, "_heard", lambda *_: pytest.fail("decoded to be compared with silence"))
    monkeypatch.setattr(phases, "sound_terms", lambda *_: pytest.fail("decoded to be compared with silence"))
    records = fitted(codec, [case], told("hybrid", 5))
    assert [record.objective for record in records] == ["flow", "flow"]


def test_a_silent_window_among_others_stays_where_the_flow_left_it(codec, cases):
    mixed = [cases[0], silent(cases[1])]
    records = fitted(codec, mixed, told("hybrid", 5))
    assert [record.objective for record in records] == ["flow"] * 2 + ["ode"] * 3
    codes = [codec.flow_matching.quantize(record.vectors[1][None]).codes for record in (records[1], records[-1])]
    assert torch.equal(*codes)


def test_nothing_silent_is_watched(codec, cases):
    records = fitted(codec, [silent(cases[0])], told("flow", 4, watch_every=2))
    assert all(math.isnan(record.stfts[0]) for record in records)


def test_the_flow_is_watched_every_so_many_steps(codec, cases):
    plain = fitted(codec, cases[:2], told("flow", 5))
    watched = fitted(codec, cases[:2], told("flow", 5, watch_every=2))
    assert all(torch.equal(a.vectors[0], b.vectors[0]) for a, b in zip(plain, watched, strict=True))
    assert [math.isfinite(record.stfts[0]) for record in watched] == [False, True, False, True, False]
    # What is decoded are the codes, from the same noise each time.
    settings = told("flow", 5)
    seen = []

    def spy(flow, targets, mu, **rest):
        seen.append((mu, rest["noise"]))
        return decode_windows(flow, targets, mu, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "decode_windows", spy)
        fitted(codec, cases[:2], replace(settings, watch_every=2))
    assert len(seen) == 4  # two windows, twice
    assert all(torch.equal(noise, seen[0][1]) for _, noise in seen)
    for number in range(2):
        codes = codec.flow_matching.quantize(watched[1].vectors[number][None]).codes
        wanted = cases[number].target.condition(codec.flow_matching, codec.flow_matching.code_sum(codes)[0])
        assert_close(seen[number][0], wanted)


def test_averaging_is_exponential(codec, cases):
    plain = fitted(codec, cases[:1], told("flow", 4))
    averaged = fitted(codec, cases[:1], told("flow", 4, averaging=0.75))
    mean = cases[0].vectors
    for one, other in zip(plain, averaged, strict=True):
        mean = 0.75 * mean + 0.25 * one.vectors[0]
        assert_close(other.vectors[0], mean)


# --- what goes wrong; a schedule that steps where its optimizer did not is meant ---

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


def spoiled(monkeypatch, name, bad, value=math.nan):
    """Make the losses of the named calls of `phases.<name>` (from 1) not finite."""
    calls, real = [], getattr(phases, name)

    def call(*args, **rest):
        found = real(*args, **rest)
        calls.append(name)
        if len(calls) not in bad:
            return found
        return {key: term * value for key, term in found.items()} if isinstance(found, dict) else found * value

    monkeypatch.setattr(phases, name, call)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("objective", "name"), [("flow", "flow_losses"), ("ode", "sound_terms")])
def test_a_step_without_finite_gradient_is_skipped(codec, cases, monkeypatch, objective, name, value):
    spoiled(monkeypatch, name, {2, 3}, value)
    records = fitted(codec, cases[:1], told(objective, 5))
    assert [math.isnan(record.losses[0]) for record in records] == [False, True, True, False, False]
    for record in records:
        assert torch.isfinite(record.vectors[0]).all()
        assert (record.note is not None) == (record.step in (2, 3))
        assert record.note is None or "not finite: a step was skipped" in record.note
    assert torch.equal(records[0].vectors[0], records[2].vectors[0])
    assert not torch.equal(records[2].vectors[0], records[3].vectors[0])


def test_a_gradient_that_is_not_finite_where_the_loss_is_is_skipped_too(codec, cases, monkeypatch):
    class Spoil(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * math.nan

    real = phases.flow_losses
    monkeypatch.setattr(phases, "flow_losses", lambda *args, **rest: Spoil.apply(real(*args, **rest)))
    (record,) = fitted(codec, cases[:1], told("flow", 1))
    assert "skipped" in record.note
    assert torch.equal(record.vectors[0], cases[0].vectors)


def test_skipped_steps_do_not_spoil_importance_sampling(codec, cases, monkeypatch):
    spoiled(monkeypatch, "flow_losses", {35})
    flow = FlowSettings(draws=4, times="importance")
    records = fitted(codec, cases[2:], told("flow", 40, flow=flow))
    assert [record.step for record in records if record.note is not None] == [35]


def test_too_many_skipped_steps_in_a_row_are_an_error_with_advice(codec, cases, monkeypatch):
    spoiled(monkeypatch, "flow_losses", set(range(2, 100)))
    seen = []
    windows = Windows(codec, (cases[2].target,), (6,))
    with pytest.raises(HeartoptError, match=r"window 7: no finite gradient in 10 steps: use --dtype float32"):
        for record in fit_windows(windows, [cases[2].vectors], told("flow", 40)):
            seen.append(record.step)
    assert seen == list(range(1, MOST_SKIPPED + 1))


def test_as_many_skipped_steps_not_in_a_row_are_no_error(codec, cases, monkeypatch):
    bad = {step for step in range(1, 25) if step % MOST_SKIPPED}
    spoiled(monkeypatch, "flow_losses", bad)
    records = fitted(codec, cases[2:], told("flow", 24))
    assert sum(record.note is not None for record in records) == len(bad)


def test_memory_that_runs_out_is_made_do_with(codec, cases, monkeypatch):
    """Only one item at a time fits: of two windows of four draws each."""
    usual = fitted(codec, cases[:2], told("flow", 3))
    sizes, real = [], phases.flow_losses

    def scarce(flow, targets, mu, **rest):
        sizes.append(len(mu))
        if len(mu) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return real(flow, targets, mu, **rest)

    monkeypatch.setattr(phases, "flow_losses", scarce)
    records = fitted(codec, cases[:2], told("flow", 3))
    assert sizes == [8, 4, 2] + [1] * 24
    assert [record.note is not None for record in records] == [True, False, False]
    assert "out of memory" in records[0].note
    for one, other in zip(usual, records, strict=True):
        assert_close(one.losses, other.losses, **ROUNDING)
        for a, b in zip(one.vectors, other.vectors, strict=True):
            # Adam's first steps are of full size even where the gradient is near zero and its sign is rounding.
            assert ((a - b).abs() < 1e-5).float().mean() > 0.95


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")], ids=str)
def test_memory_that_runs_out_in_the_decoder_is_made_do_with(codec, cases, monkeypatch, error):
    usual = fitted(codec, cases[:1], told("ode", 2))
    solvers, real = [], phases.decode_windows

    def scarce(*args, checkpointing, **rest):
        solvers.append(checkpointing)
        if not checkpointing:
            raise error
        return real(*args, checkpointing=checkpointing, **rest)

    monkeypatch.setattr(phases, "decode_windows", scarce)
    records = fitted(codec, cases[:1], told("ode", 2))
    # 7.44 s at once, then 3.72, 1.86, 0.93 and 0.5 s, then checkpointing.
    assert solvers == [False] * 5 + [True] * 2
    assert ["out of memory" in (record.note or "") for record in records] == [True, False]
    for one, other in zip(usual, records, strict=True):
        assert_close(one.losses, other.losses, **ROUNDING)
        assert ((one.vectors[0] - other.vectors[0]).abs() < 1e-4).float().mean() > 0.9


@pytest.mark.parametrize(("objective", "name"), [("flow", "flow_losses"), ("ode", "decode_windows")])
def test_memory_that_does_not_suffice_at_all_is_an_error(codec, cases, monkeypatch, objective, name):
    def broken(*args, **rest):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(phases, name, broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        fitted(codec, cases[:1], told(objective))


@pytest.mark.parametrize(("objective", "name"), [("flow", "flow_losses"), ("ode", "decode_windows")])
def test_other_errors_are_not_taken_for_it(codec, cases, monkeypatch, objective, name):
    calls = []

    def broken(*args, **rest):
        calls.append(name)
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(phases, name, broken)
    with pytest.raises(RuntimeError, match="multiplied"):
        fitted(codec, cases[:1], told(objective))
    assert len(calls) == 1


# --- patience ---


@pytest.mark.parametrize(
    ("losses", "patience", "settled"),
    [
        ([3, 2, 1, 0], None, False),
        ([1, 2, 3], 2, False),  # not enough of them
        ([3, 2, 1, 0], 2, False),
        ([2, 2, 2, 2], 2, True),
        ([0, 9, 2, 2], 2, False),
        ([9, 9, 1, 2, 1, 3], 2, True),  # only the last ones count
        ([9, 9, 3, 2, 2, 1], 2, False),
        ([1, 2], 1, True),
        ([2, 1], 1, False),
    ],
)
def test_what_has_settled(losses, patience, settled):
    assert has_settled([float(loss) for loss in losses], patience) is settled


def test_skipped_steps_do_not_count_as_settled():
    falling = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]
    assert not has_settled([*falling, math.nan], 2)
    assert not has_settled([*falling[:4], math.nan, *falling[4:]], 2)


class Falling:
    """A phase whose losses are what they are told to be, with a gradient of ones."""

    def __init__(self, windows, settings):
        self.windows, self.losses = windows, iter(self.told[type(self).__name__])

    def draw(self):
        losses = next(self.losses)
        return lambda vectors: phases.Slope(losses, torch.ones_like(vectors), (math.nan,) * len(losses))

    def halve(self):
        return False


def test_patience_ends_a_phase_when_all_of_its_windows_have_settled(codec, cases, monkeypatch):
    first = [(5.0, 5.0), (4.0, 4.0), (4.0, 3.0), (5.0, 2.0), (5.0, 2.0), (5.0, 2.0), (5.0, 2.0)]
    second = [(3.0, 3.0), (3.0, 3.0), (3.0, 3.0), (3.0, 3.0)]
    monkeypatch.setattr(Falling, "told", {"Flow": iter(first), "Ode": iter(second)}, raising=False)
    flow, ode = (type(name, (Falling,), {}) for name in ("Flow", "Ode"))
    monkeypatch.setattr(fit, "PHASES", {"flow": flow, "ode": ode})
    records = fitted(codec, cases[:2], told("hybrid", 20, flow_share=0.5, patience=2))
    # The first window has settled after four steps, the other after seven: 2, 2 is not below 2, 2.
    assert [record.objective for record in records] == ["flow"] * 7 + ["ode"] * 4
    assert [record.step for record in records] == [*range(1, 8), *range(11, 15)]
