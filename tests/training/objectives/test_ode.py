from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.losses import mel_log1p, stft_log1p
from heartopt.training.crops import Batch
from heartopt.training.draws import step_draws
from heartopt.training.model import Trained
from heartopt.training.objectives import Terms, choose
from heartopt.training.objectives.ode import solve
from heartopt.training.settings import TrainSettings


@pytest.mark.parametrize("steps", [1, 3])
def test_it_is_the_loss_of_the_real_decoders_audio(
    steps: int,
    codec: HeartCodec,
    settings: Callable[..., TrainSettings],
    terms_of: Callable[..., Terms],
    batch: Batch,
    model: Trained,
) -> None:
    chosen = settings(objective={"ode": 1.0}, ode_steps=steps)
    draws = step_draws(chosen, step=3, items=range(4), total=4, batch=batch)
    assert draws.ode_noise is not None and batch.audio is not None
    flow = codec.flow_matching
    with torch.no_grad():
        terms = terms_of(chosen, batch).terms
        condition = flow.condition_from(choose(model.projection, codec, batch).vectors)
        latents = flow.solve_euler(draws.ode_noise, condition, num_steps=steps, guidance_scale=1.0)
        audio = codec.decode_latents(latents)
    samples = [int(own) * codec.hop for own in batch.real.sum(1)]
    pairs = [(e[:, :n], t[:, :n]) for e, t, n in zip(audio, batch.audio, samples, strict=True)]
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(terms["ode_stft"], torch.stack([stft_log1p(*pair) for pair in pairs]).mean(), **close)
    torch.testing.assert_close(terms["ode_mel"], torch.stack([mel_log1p(*pair) for pair in pairs]).mean(), **close)


def test_computing_again_gives_the_gradient_of_the_unrolled_solver(codec: HeartCodec, batch: Batch) -> None:
    flow = codec.flow_matching
    noise = torch.randn(batch.targets.shape, generator=torch.Generator().manual_seed(0))
    gradients = []
    for solver in (
        lambda mu: solve(flow, noise, mu, 3),
        lambda mu: flow.solve_euler(noise, mu, num_steps=3, guidance_scale=1.0),
    ):
        condition = torch.randn(4, 8, codec.config.dim, generator=torch.Generator().manual_seed(1)).requires_grad_()
        solver(condition).square().mean().backward()
        gradients.append(condition.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-8)


def test_only_one_step_is_kept_for_the_way_back(codec: HeartCodec, batch: Batch) -> None:
    """The number of values kept by autograd hardly grows with the steps."""

    def kept(steps: int) -> int:
        sizes: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        condition = torch.randn(4, 8, codec.config.dim, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            solve(codec.flow_matching, torch.randn(batch.targets.shape), condition, steps)
        return sum(sizes)

    latents = batch.targets.numel()
    assert kept(8) <= kept(1) + 7 * 4 * latents
