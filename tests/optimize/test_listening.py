import pytest
import torch
from torch.testing import assert_close

from heartopt.optimize.listening import decode_pieces


@pytest.fixture(scope="module")
def latents():
    return torch.rand(1, 70, 256, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8


@pytest.mark.parametrize(("first", "last"), [(0, 70), (0, 5), (60, 70), (50, 63), (69, 70)])
@pytest.mark.parametrize("piece", [1000, 13])
def test_pieces_are_the_cut_of_the_whole(codec, latents, first, last, piece):
    whole = codec.decode_latents(latents)[..., first * 1920 : last * 1920]
    # Convolutions of another length, in float32.
    assert_close(decode_pieces(codec, latents, first, last, piece), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("piece", [1000, 7])
def test_the_gradient_is_that_of_the_whole(codec, latents, piece):
    given = latents.clone().requires_grad_(True)
    weight = torch.randn(1, 2, 15 * 1920, generator=torch.Generator().manual_seed(1))
    (part,) = torch.autograd.grad((weight * decode_pieces(codec, given, 50, 65, piece)).sum(), given)
    (whole,) = torch.autograd.grad((weight * codec.decode_latents(given)[..., 50 * 1920 : 65 * 1920]).sum(), given)
    assert_close(part, whole, rtol=1e-3, atol=1e-5)
    assert whole.abs().max() > 1e-2


def test_a_loss_of_all_pieces_at_once_has_the_same_gradient(codec, latents):
    given = latents.clone().requires_grad_(True)
    gradients = []
    for piece in (1000, 5):
        audio = decode_pieces(codec, 0.9 * given, 50, 65, piece)
        (gradient,) = torch.autograd.grad(audio.square().mean().sqrt(), given)
        gradients.append(gradient)
    assert_close(*gradients, rtol=1e-3, atol=1e-7)
    assert gradients[0].abs().max() > 1e-5
