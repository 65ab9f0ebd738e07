import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from heartopt.audio import AudioTensor
from heartopt.codec.windows import WindowPlan
from heartopt.optimize.objective import draw_noise, draw_times, straight_through, window_loss
from heartopt.optimize.window import window_target


@given(st.integers(1, 40), st.integers(0, 1000))
def test_there_is_one_time_in_each_stratum(draws, seed):
    times = draw_times(draws, torch.Generator().manual_seed(seed))
    assert torch.equal((times * draws).floor().long().clamp(max=draws - 1), torch.arange(draws))
    assert times.min() > 0
    assert times.max() < 1


@pytest.mark.parametrize("draws", [1, 2, 5])
def test_noise_comes_in_antithetic_pairs(draws):
    noise = draw_noise(draws, 3, 2, torch.Generator().manual_seed(0))
    assert noise.shape == (draws, 3, 2)
    assert torch.equal(noise[1::2], -noise[0 : 2 * (draws // 2) : 2])


def test_straight_through_is_the_codes_forward_and_the_identity_backward(codec):
    e = torch.randn(5, 8, requires_grad=True)
    passed, quantized = straight_through(codec.flow_matching, e)
    assert_close(passed, quantized)
    assert (passed - e).abs().max() > 1e-3
    passed.sum().backward()
    assert torch.equal(e.grad, torch.ones_like(e))


def test_the_loss_is_the_decoders_training_loss_with_the_quantized_condition(codec, audio):
    codes = torch.randint(0, 128, (4, 13), generator=torch.Generator().manual_seed(1))
    (window,) = WindowPlan.of_duration(7.44).windows(13)
    target = window_target(codec, AudioTensor(audio), window, codes)
    e = torch.randn(13, 8, generator=torch.Generator().manual_seed(2))
    total, flow_term = window_loss(
        codec.flow_matching, target, e, draws=4, commitment=0.5, generator=torch.Generator().manual_seed(3)
    )
    generator = torch.Generator().manual_seed(3)
    times = draw_times(4, generator)[torch.randperm(4, generator=generator)]
    noise = draw_noise(4, 186, 256, generator)
    found = codec.flow_matching.quantize(e[None])
    looped = found.codes[..., torch.arange(93) % 13]
    expected = codec.flow_matching.flow_loss(
        target.latents.expand(4, -1, -1),
        codec.flow_matching.condition(looped).expand(4, -1, -1),
        times=times,
        noise=noise,
        frames=(torch.arange(186) < 26).expand(4, -1),
    ).mean()
    assert_close(flow_term, expected)
    assert_close(total, expected + 0.5 * (e - found.vectors[0]).square().mean())
