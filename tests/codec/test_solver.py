from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from heartopt.codec.flow import FlowMatching
from heartopt.codec.solver import draw_picks, solve

STEPS = 4
LENGTH = 12
# Gradients of float32 sums in another order.
ROUNDING = {"rtol": 1e-4, "atol": 1e-6}


@dataclass(frozen=True)
class Case:
    """One window's noise ``[1, L, C]``, condition ``[1, L, D]`` and context; ``weight`` makes a scalar of latents."""

    flow: FlowMatching
    noise: Tensor
    mu: Tensor
    known: Tensor
    context_frames: int
    guidance: float
    weight: Tensor

    def solve(self, picks, *, steps=STEPS, checkpointing=False):
        return solve(
            self.flow,
            self.noise,
            self.mu,
            known=self.known,
            context=(torch.arange(LENGTH) < self.context_frames)[None],
            num_steps=steps,
            guidance_scale=self.guidance,
            picks=torch.as_tensor(picks, dtype=torch.int64)[None],
            checkpointing=checkpointing,
        )

    def decode(self, *, steps=STEPS):
        past = self.known[:, : self.context_frames] if self.context_frames else None
        return self.flow.decode(self.noise, self.mu, past=past, num_steps=steps, guidance_scale=self.guidance)

    def gradient(self, latents):
        return torch.autograd.grad((self.weight * latents).sum(), self.mu)[0]

    def gradient_of_each_step(self, steps=STEPS):
        """How each step's velocity answers to mu where ``x`` is a constant: ``[steps, 1, L, D]``."""
        x, answers = self.noise, []
        for step in range(steps):
            t, known = step / steps, self.context_frames
            mix = (1 - (1 - 1e-6) * t) * self.noise[:, :known] + t * self.known[:, :known]
            x = torch.cat((mix, x[:, known:]), dim=1).detach()
            moved = self.flow.guided_velocity(x, self.known, self.mu, t, self.guidance) / steps
            answers.append(self.gradient(torch.cat((torch.zeros_like(mix), moved[:, known:]), dim=1)))
            x = x + moved
        return torch.stack(answers)


def make_case(codec, context_frames, guidance, *, seed=0) -> Case:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 128, (1, 4, LENGTH // 2), generator=generator)
    known = torch.rand(1, LENGTH, 256, generator=generator) - 0.5
    known[:, context_frames:] = 0
    return Case(
        flow=codec.flow_matching,
        noise=torch.randn(1, LENGTH, 256, generator=generator),
        mu=codec.flow_matching.condition(codes).requires_grad_(True),
        known=known,
        context_frames=context_frames,
        guidance=guidance,
        weight=torch.randn(1, LENGTH, 256, generator=generator),
    )


@pytest.fixture(params=[(0, 1.25), (4, 1.25), (4, 1.0), (4, 0.5)], ids=str)
def case(codec, request) -> Case:
    return make_case(codec, *request.param)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("picks", [[], [3, 0], list(range(STEPS))], ids=str)
def test_the_value_is_exactly_what_the_codec_decodes(case, picks, checkpointing):
    assert torch.equal(case.solve(picks, checkpointing=checkpointing), case.decode())


def test_behind_the_context_the_value_is_exactly_that_of_solve_euler(case):
    known = case.context_frames
    euler = case.flow.solve_euler(
        case.noise,
        case.mu,
        context=case.known,
        context_frames=known,
        num_steps=STEPS,
        guidance_scale=case.guidance,
    )
    assert torch.equal(case.solve([1])[:, known:], euler[:, known:])


def test_through_all_steps_the_gradient_is_the_sum_of_each_ones_with_the_noise_held_still(case):
    wanted = case.gradient_of_each_step().sum(0)
    assert_close(case.gradient(case.solve(range(STEPS))), wanted, **ROUNDING)
    assert wanted.abs().max() > 1e-3


def test_a_few_steps_stand_for_all_of_them(case):
    each = case.gradient_of_each_step()
    for picks in ([2], [0, 3], [1, 1, 3]):
        wanted = STEPS * each[picks].mean(0)
        assert_close(case.gradient(case.solve(picks)), wanted, **ROUNDING)


def test_without_picks_the_gradient_is_that_of_the_codecs_solver(case):
    through = case.gradient(case.decode())
    assert_close(case.gradient(case.solve([])), through, **ROUNDING)
    assert (through - case.gradient(case.solve(range(STEPS)))).abs().max() > 1e-4, "the noise's path counts"


def test_of_a_single_step_both_gradients_are_the_same(case):
    assert_close(case.gradient(case.solve([0], steps=1)), case.gradient(case.solve([], steps=1)), **ROUNDING)


@pytest.mark.parametrize("picks", [[], [1, 3]], ids=str)
def test_checkpointing_does_not_show(case, picks):
    gradients = [case.gradient(case.solve(picks, checkpointing=checkpointing)) for checkpointing in (False, True)]
    assert_close(*gradients, **ROUNDING)


@pytest.mark.parametrize("picks", [[[], []], [[0, 3], [3, 1]]], ids=str)
def test_windows_of_other_contexts_and_picks_are_solved_together_as_alone(codec, picks):
    alone = [make_case(codec, 0, 1.25, seed=0), make_case(codec, 4, 1.25, seed=1)]
    noise, mu, known, weight = (
        torch.cat([getattr(one, name) for one in alone]).detach() for name in ("noise", "mu", "known", "weight")
    )
    latents = solve(
        codec.flow_matching,
        noise,
        mu.requires_grad_(True),
        known=known,
        context=torch.arange(LENGTH) < torch.tensor([[0], [4]]),
        num_steps=STEPS,
        guidance_scale=1.25,
        picks=torch.tensor(picks, dtype=torch.int64),
    )
    (gradient,) = torch.autograd.grad((weight * latents).sum(), mu)
    for number, one in enumerate(alone):
        solved = one.solve(picks[number])
        # Batches of another size, in float32.
        assert_close(latents[number], solved[0], rtol=1e-4, atol=1e-5)
        assert_close(gradient[number], one.gradient(solved)[0], rtol=1e-3, atol=1e-5)


def test_known_frames_are_kept_as_they_are(case):
    for picks in ([], [1]):
        known = case.solve(picks)[:, : case.context_frames]
        assert torch.equal(known, case.known[:, : case.context_frames])


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
@settings(deadline=None)
def test_picks_are_one_in_each_equal_part(count, steps, seed):
    picks = draw_picks(min(count, steps), steps, torch.Generator().manual_seed(seed))
    count = min(count, steps)
    assert picks.dtype == torch.int64
    for number, pick in enumerate(picks.tolist()):
        assert number * steps / count - 1 < pick < (number + 1) * steps / count
        assert 0 <= pick < steps


def test_as_many_picks_as_steps_are_all_of_them_and_none_is_none():
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(draw_picks(8, 8, generator), torch.arange(8))
    assert draw_picks(0, 8, generator).numel() == 0


@pytest.mark.parametrize(("count", "steps"), [(1, 4), (2, 5), (3, 8)])
def test_every_step_is_picked_as_often(count, steps):
    generator, draws = torch.Generator().manual_seed(0), 2000
    picks = torch.cat([draw_picks(count, steps, generator) for _ in range(draws)])
    counts = torch.bincount(picks, minlength=steps).double()
    # A step is met at most twice a draw: a standard deviation below sqrt(draws).
    assert_close(counts, torch.full_like(counts, draws * count / steps), rtol=0, atol=4 * draws**0.5)


def test_the_same_seed_picks_the_same():
    one, two, other = (
        [draw_picks(2, 100, generator).tolist() for _ in range(3)]
        for generator in (torch.Generator().manual_seed(seed) for seed in (1, 1, 2))
    )
    assert one == two != other


def test_with_checkpointing_only_one_step_is_kept_for_the_way_back(codec):
    """The number of values kept by autograd hardly grows with the steps."""
    case = make_case(codec, 0, 1.0)

    def kept(steps):
        sizes = []

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            case.solve([], steps=steps, checkpointing=True)
        return sum(sizes)

    latents = case.noise.numel()
    assert kept(8) <= kept(1) + 7 * 4 * latents
