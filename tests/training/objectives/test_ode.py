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
