from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from heartopt.losses import LOSSES
from heartopt.optimize import OdeSettings
from heartopt.optimize.objective import (
    WindowTarget,
    decode_windows,
    flow_losses,
    listen,
    sound_terms,
    term_weights,
    terms_of,
)


def window_target(codec, *, frames, context, real, audio, seed=0):
    """A window of ``frames`` latents, made up: ``context`` known ones, ``audio`` samples behind them."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(frames)
    return WindowTarget(
        latents=torch.rand(frames, 256, generator=generator) * 1.6 - 0.8,
        audio=0.1 * torch.randn(2, audio, generator=generator),
        fixed=torch.randn(frames // 2, 8, generator=generator),
        free=torch.where((index[::2] >= context) & (index[::2] < real), index[::2] // 2 - context // 2, -1),
        context=index < context,
        frames=index < real,
    )


def test_the_flow_losses_are_the_decoders_training_loss(codec, long_song, cases):
    """Of three windows at once, each seen as the decoder sees it."""
    flow, generator = codec.flow_matching, torch.Generator().manual_seed(3)
    times = torch.rand(3, generator=generator)
    noise = torch.randn(3, 12, 256, generator=generator)
    mu = torch.cat([case.target.condition(flow, case.vectors) for case in cases])
    found = flow_losses(flow, [case.target for case in cases], mu, times=times, noise=noise)
    whole = codec.encode_latents(long_song.audio[None])[0]
    for number, case in enumerate(cases):
        # All vectors of the song, with the free frames replaced.
        vectors = flow.code_sum(long_song.codes[None])[0].clone()
        vectors[case.frames] = case.vectors
        index, one = torch.arange(12)[None], slice(number, number + 1)
        expected = flow.flow_loss(
            whole[case.window.positions(13, 2)][None],
            flow.condition_from(vectors[case.window.positions(13)][None]),
            times=times[one],
            noise=noise[one],
            context=index < 2 * case.window.context,
            frames=index < 2 * case.window.real,
        )
        # The latents are encoded in other pieces.
        assert_close(found[one], expected, rtol=1e-4, atol=1e-5)


def test_a_frames_gradient_is_that_of_all_of_its_places(codec, cases):
    case = cases[0]
    looped = replace(case.target, free=torch.arange(6) % 2)
    vectors = case.vectors[:2].clone().requires_grad_(True)
    weight = torch.randn(1, 12, 64, generator=torch.Generator().manual_seed(0))
    (weight * looped.condition(codec.flow_matching, vectors)).sum().backward()
    each = case.vectors[[0, 1, 0, 1, 0, 1]].clone().requires_grad_(True)
    (weight * codec.flow_matching.condition_from(each[None])).sum().backward()
    assert_close(vectors.grad, each.grad.unflatten(0, (3, 2)).sum(0))


def test_fixed_frames_have_their_own_vectors(codec, cases):
    case = cases[2]
    mu = case.target.condition(codec.flow_matching, case.vectors)
    expected = codec.flow_matching.condition_from(case.target.fixed[None])
    free = (case.target.free >= 0).repeat_interleave(2)
    assert torch.equal(mu[:, ~free], expected[:, ~free])
    assert (mu - expected)[:, free].abs().amax(-1).min() > 1e-3


SETTINGS = OdeSettings(solver_steps=2, gradient_steps=1, mel_weight=0.5, shimmer_weight=2.0)


def decoded(codec, cases, vectors, settings=SETTINGS, picks=(1,)):
    """Latents of each case's vectors, and the noise that they come from."""
    noise = torch.randn(len(cases), 12, 256, generator=torch.Generator().manual_seed(7))
    conditions = [case.target.condition(codec.flow_matching, own) for case, own in zip(cases, vectors, strict=True)]
    latents = decode_windows(
        codec.flow_matching,
        [case.target for case in cases],
        torch.cat(conditions),
        noise=noise,
        picks=torch.tensor(picks, dtype=torch.int64).expand(len(cases), -1),
        guidance_scale=1.25,
        num_steps=settings.solver_steps,
        checkpointing=settings.checkpointing,
    )
    return latents, noise


def test_the_decoded_latents_are_the_codecs_with_the_songs_own_as_context(codec, cases):
    latents, noise = decoded(codec, cases, [case.vectors for case in cases])
    for number, case in enumerate(cases):
        known, one = 2 * case.window.context, slice(number, number + 1)
        expected = codec.flow_matching.decode(
            noise[one],
            case.target.condition(codec.flow_matching, case.vectors),
            past=case.target.latents[None, :known] if known else None,
            num_steps=2,
            guidance_scale=1.25,
        )
        # Batches of another size, in float32.
        assert_close(latents[one], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_terms_are_the_losses_of_what_the_codec_makes_of_the_latents(codec, cases, number):
    case = cases[number]
    latents = decoded(codec, [case], [case.vectors])[0][0]
    first = case.window.context * 3840
    audio = codec.decode_latents(latents[None])[0, :, first : first + case.target.audio.shape[-1]]
    found = sound_terms(codec, case.target, latents, SETTINGS)
    for name, loss in (("stft", "stft"), ("mel", "mel"), ("shimmer", "stft_hf")):
        assert_close(found[name], LOSSES[loss](audio, case.target.audio), rtol=1e-4, atol=1e-5)
    assert set(found) == {"stft", "mel", "shimmer"}


@pytest.mark.parametrize("thrift", [{"checkpointing": True}, {"piece_seconds": 0.1}], ids=str)
@pytest.mark.parametrize("gradient_steps", [0, 1, 2])
def test_saving_memory_changes_neither_terms_nor_gradient(codec, cases, gradient_steps, thrift):
    gradients = []
    for settings in (SETTINGS, replace(SETTINGS, **thrift)):
        vectors = cases[1].vectors.clone().requires_grad_(True)
        latents, _ = decoded(codec, cases[1:2], [vectors], settings, picks=range(gradient_steps))
        found = sound_terms(codec, cases[1].target, latents[0], settings)
        gradients.append((torch.stack(list(found.values())), *torch.autograd.grad(sum(found.values()), vectors)))
    # Convolutions of another length: rounding that an STFT of small magnitudes makes larger.
    assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)
    assert gradients[0][1].abs().max() > 1e-3


@pytest.mark.parametrize(
    ("mel", "shimmer", "names"),
    [
        (0.0, 0.0, {"stft": "stft"}),
        (0.5, 0.0, {"stft": "stft", "mel": "mel"}),
        (0.0, 2.0, {"stft": "stft", "shimmer": "stft_hf"}),
        (0.5, 2.0, {"stft": "stft", "mel": "mel", "shimmer": "stft_hf"}),
    ],
)
def test_terms_and_weights_have_the_same_names(codec, cases, mel, shimmer, names):
    settings = OdeSettings(solver_steps=1, gradient_steps=1, mel_weight=mel, shimmer_weight=shimmer)
    assert terms_of(settings) == names
    given = {"stft": 1.0, "mel": mel, "shimmer": shimmer}
    assert term_weights(settings) == {name: given[name] for name in names}
    assert list(term_weights(settings)) == list(names)
    found = sound_terms(codec, cases[0].target, cases[0].target.latents, settings)
    assert list(found) == list(names)


PLACES = pytest.mark.parametrize(
    ("frames", "context", "real", "samples"),
    [
        (12, 0, 12, 12 * 1920),  # a first window
        (12, 0, 4, 4 * 1920 - 700),  # a song shorter than a window
        (130, 104, 130, 26 * 1920),  # the context reaches further back than the decoder does
        (130, 104, 110, 6 * 1920 - 1),  # a last window
        (130, 104, 106, 1),  # of which one sample is new
    ],
)


@PLACES
def test_what_is_heard_is_the_cut_of_what_is_decoded_whole(codec, frames, context, real, samples):
    target = window_target(codec, frames=frames, context=context, real=real, audio=samples)
    whole = codec.decode_latents(target.latents[None])[0]
    heard = listen(codec, target.latents[None], target)
    # Convolutions of another length, in float32.
    assert_close(heard, whole[:, context * 1920 : context * 1920 + samples], rtol=1e-4, atol=1e-5)
    in_pieces = listen(codec, target.latents[None], target, piece_seconds=0.2)
    assert_close(in_pieces, heard, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("seconds", "pieces"), [(None, [50]), (10.0, [50]), (0.8, [20, 20, 10]), (0.001, [1] * 50)])
def test_no_more_is_decoded_than_is_heard_and_no_more_at_once_than_a_piece(codec, monkeypatch, seconds, pieces):
    target = window_target(codec, frames=400, context=104, real=200, audio=50 * 1920 - 5)
    model, lengths = codec.scalar_model, []

    def decode(latents):
        lengths.append(latents.shape[1])
        return torch.zeros(1, 2, latents.shape[1] * codec.hop)

    monkeypatch.setattr(codec, "decode_latents", decode)
    assert listen(codec, target.latents[None], target, piece_seconds=seconds).shape == target.audio.shape
    assert lengths == [model.decoder_context + piece + model.decoder_lookahead for piece in pieces]


def test_the_gradient_of_what_is_heard_is_that_of_what_is_decoded_whole(codec):
    target = window_target(codec, frames=130, context=104, real=110, audio=6 * 1920 - 1)
    weight = torch.randn(target.audio.shape, generator=torch.Generator().manual_seed(0))
    latents = target.latents[None].clone().requires_grad_(True)
    cut = codec.decode_latents(latents)[0, :, 104 * 1920 : 104 * 1920 + target.audio.shape[-1]]
    whole = torch.autograd.grad((weight * cut).sum(), latents)[0]
    assert whole.abs().max() > 1e-2
    for seconds in (None, 0.1):
        heard = listen(codec, latents, target, piece_seconds=seconds)
        part = torch.autograd.grad((weight * heard).sum(), latents)[0]
        assert_close(part, whole, rtol=1e-3, atol=1e-5)
