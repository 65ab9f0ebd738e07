import torch
from torch.testing import assert_close

from heartopt.codec.scalar import round_latents

PARITY = {"rtol": 1e-4, "atol": 1e-5}


def test_encode_equals_the_reference(codec, golden):
    assert_close(codec.scalar_model.encode(golden["scalar_audio"]), golden["scalar_latents"], **PARITY)


def test_encode_equals_the_reference_where_the_length_is_no_multiple_of_the_hop(codec, golden):
    assert_close(codec.scalar_model.encode(golden["scalar_audio_odd"]), golden["scalar_latents_odd"], **PARITY)


def test_decode_equals_the_reference(codec, golden):
    assert_close(codec.scalar_model.decode(golden["scalar_latents"]), golden["scalar_decoded"], **PARITY)


def test_pre_tanh_is_what_the_tanh_is_taken_of(codec, golden):
    before = codec.scalar_model.encode(golden["scalar_audio"], pre_tanh=True)
    assert_close(before.tanh(), golden["scalar_latents"], **PARITY)
    assert before.abs().max() > golden["scalar_latents"].abs().max()


def test_encoder_sees_no_future_and_no_more_past_than_it_says(codec):
    model = codec.scalar_model
    audio = torch.randn(1, 1, 120 * model.hop, generator=torch.Generator().manual_seed(0))
    changed = audio.clone()
    changed[..., 60 * model.hop] += 1
    moved = (model.encode(audio) != model.encode(changed)).any(1)[0].nonzero()
    assert moved.min() >= 60
    assert moved.max() < 60 + model.encoder_context


def test_a_sample_depends_on_no_more_latents_than_the_decoder_says(codec):
    """By gradients: they show what reaches a sample even where float32 would round it away."""
    model, frame = codec.scalar_model, 60
    latents = torch.rand(1, 128, 70, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    audio = model.decode(latents)[0, 0]
    for sample in (frame * model.hop, frame * model.hop + 777, (frame + 1) * model.hop - 1):
        (gradient,) = torch.autograd.grad(audio[sample], latents, retain_graph=True)
        reached = gradient.abs().sum(1)[0].nonzero()
        assert frame - model.decoder_context <= reached.min() <= frame - model.decoder_context + 3
        assert reached.max() == frame + model.decoder_lookahead


def test_latents_out_of_the_decoders_reach_leave_a_frames_audio_as_it_is(codec):
    model, frame = codec.scalar_model, 60
    latents = torch.rand(1, 128, 80, generator=torch.Generator().manual_seed(0))
    own = slice(frame * model.hop, (frame + 1) * model.hop)
    heard = model.decode(latents)[..., own]
    far = latents.clone()
    far[..., : frame - model.decoder_context] = -0.7
    far[..., frame + model.decoder_lookahead + 1 :] = 0.7
    assert torch.equal(model.decode(far)[..., own], heard)
    for change in (slice(frame - 1, frame), slice(frame + model.decoder_lookahead, frame + 3)):
        near = latents.clone()
        near[..., change] = -0.7
        assert not torch.equal(model.decode(near)[..., own], heard)


def test_rounding_is_to_ninths_and_lets_the_gradient_through():
    latents = torch.linspace(-1, 1, 101, requires_grad=True)
    rounded = round_latents(latents)
    assert_close(rounded * 9, (rounded * 9).round(), rtol=0, atol=1e-5)
    assert (rounded - latents).abs().max() <= 0.5 / 9 + 1e-6
    rounded.sum().backward()
    assert_close(latents.grad, torch.ones(101))
