import pytest
import torch
from torch.testing import assert_close

PARITY = {"rtol": 1e-4, "atol": 1e-5}
KNOWN_FRAMES = 5  # of the stored Euler runs


@pytest.mark.parametrize(("name", "num_steps", "guidance"), [("euler_cfg", 5, 1.25), ("euler_nocfg", 4, 1.0)])
def test_euler_equals_the_reference(codec, golden, name, num_steps, guidance):
    latents = codec.flow_matching.solve_euler(
        golden["euler_noise"],
        golden["euler_cond"],
        context=golden["euler_context"],
        context_frames=KNOWN_FRAMES,
        num_steps=num_steps,
        guidance_scale=guidance,
    )
    assert_close(latents[:, KNOWN_FRAMES:], golden[name][:, KNOWN_FRAMES:], **PARITY)


def test_decode_keeps_the_past_as_it_is(codec, golden):
    past = golden["euler_context"][:, :KNOWN_FRAMES]
    latents = codec.flow_matching.decode(golden["euler_noise"], golden["euler_cond"], past=past, num_steps=2)
    assert torch.equal(latents[:, :KNOWN_FRAMES], past)
    alone = codec.flow_matching.decode(golden["euler_noise"], golden["euler_cond"], num_steps=2)
    assert (latents - alone)[:, KNOWN_FRAMES:].abs().max() > 1e-3


def test_condition_repeats_each_code_frame_twice(codec, golden):
    mu = codec.flow_matching.condition(golden["codes"])
    assert mu.shape == (2, 18, 64)
    assert torch.equal(mu[:, 0::2], mu[:, 1::2])
    assert_close(mu[:, ::2], codec.flow_matching.cond_feature_emb(golden["vq_output"]), **PARITY)


@pytest.fixture
def flow_case(codec, golden):
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 18, 256, generator=generator)
    noise = torch.randn(2, 18, 256, generator=generator)
    return {
        "latents": latents,
        "mu": codec.flow_matching.condition(golden["codes"]),
        "times": torch.tensor([0.25, 0.75]),
        "noise": noise,
    }


def test_flow_loss_is_the_squared_error_of_the_velocity(codec, flow_case):
    loss = codec.flow_matching.flow_loss(**flow_case)
    t = flow_case["times"][:, None, None]
    x_t = (1 - (1 - 1e-6) * t) * flow_case["noise"] + t * flow_case["latents"]
    inputs = torch.cat((x_t, torch.zeros_like(x_t), flow_case["mu"]), dim=-1)
    velocity = codec.flow_matching.estimator(inputs, timestep=flow_case["times"])
    wanted = flow_case["latents"] - (1 - 1e-6) * flow_case["noise"]
    assert_close(loss, (velocity - wanted).square().mean((1, 2)))


def test_flow_loss_counts_real_frames_that_are_not_context(codec, flow_case):
    context = torch.zeros(2, 18, dtype=torch.bool)
    context[:, :4] = True
    frames = torch.ones(2, 18, dtype=torch.bool)
    frames[:, 12:] = False
    loss = codec.flow_matching.flow_loss(**flow_case, context=context, frames=frames)
    t = flow_case["times"][:, None, None]
    x_t = (1 - (1 - 1e-6) * t) * flow_case["noise"] + t * flow_case["latents"]
    inputs = torch.cat((x_t, flow_case["latents"] * context[..., None], flow_case["mu"]), dim=-1)
    velocity = codec.flow_matching.estimator(inputs, timestep=flow_case["times"])
    wanted = flow_case["latents"] - (1 - 1e-6) * flow_case["noise"]
    assert_close(loss, (velocity - wanted)[:, 4:12].square().mean((1, 2)))


@pytest.mark.parametrize("with_context", [False, True])
def test_flow_errors_are_those_whose_mean_is_the_flow_loss(codec, flow_case, with_context):
    index = torch.arange(18).expand(2, -1)
    context = index < torch.tensor([[4], [0]]) if with_context else None
    frames = index < torch.tensor([[12], [18]])
    errors = codec.flow_matching.flow_errors(**flow_case, context=context)
    assert errors.shape == (2, 18)
    for told, first, last in (({}, (0, 0), (18, 18)), ({"frames": frames}, (0, 0), (12, 18))):
        begin = (4, 0) if with_context else first
        wanted = torch.stack([errors[item, begin[item] : last[item]].mean() for item in range(2)])
        assert_close(codec.flow_matching.flow_loss(**flow_case, context=context, **told), wanted)


def test_flow_errors_are_the_squared_errors_of_each_frames_velocity(codec, flow_case):
    errors = codec.flow_matching.flow_errors(**flow_case)
    t = flow_case["times"][:, None, None]
    x_t = (1 - (1 - 1e-6) * t) * flow_case["noise"] + t * flow_case["latents"]
    inputs = torch.cat((x_t, torch.zeros_like(x_t), flow_case["mu"]), dim=-1)
    velocity = codec.flow_matching.estimator(inputs, timestep=flow_case["times"])
    wanted = flow_case["latents"] - (1 - 1e-6) * flow_case["noise"]
    assert_close(errors, (velocity - wanted).square().mean(2))


def test_guidance_leads_away_from_the_velocity_without_condition(codec, flow_case):
    x, mu = flow_case["noise"], flow_case["mu"]
    known = torch.zeros_like(x)
    given, without = (codec.flow_matching.guided_velocity(x, known, m, 0.3, 1.0) for m in (mu, torch.zeros_like(mu)))
    for scale, wanted in ((0.0, given), (0.5, given), (1.25, without + 1.25 * (given - without)), (3.0, None)):
        found = codec.flow_matching.guided_velocity(x, known, mu, 0.3, scale)
        assert_close(found, without + scale * (given - without) if wanted is None else wanted, rtol=1e-4, atol=1e-5)
    assert (given - without).abs().max() > 1e-2


def test_gradient_reaches_the_code_vectors_through_solver_and_waveform(codec, golden):
    vectors = codec.flow_matching.code_sum(golden["codes"][:1]).requires_grad_(True)
    mu = codec.flow_matching.condition_from(vectors)
    latents = codec.flow_matching.decode(golden["euler_noise"], mu, num_steps=2)
    codec.decode_latents(latents).square().sum().backward()
    assert vectors.grad.shape == vectors.shape
    assert (vectors.grad.abs().sum(-1) > 0).all()
