import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from heartopt.codec.quantizer import code_vectors, nearest_codes

PARITY = {"rtol": 1e-4, "atol": 1e-5}


def test_codes_become_the_reference_features(codec, golden):
    library = codec.flow_matching.vq_embed.get_output_from_indices(golden["codes"].transpose(1, 2))
    assert_close(library, golden["vq_output"], **PARITY)
    ours = codec.flow_matching.vq_embed.project_out(codec.flow_matching.code_sum(golden["codes"]))
    assert_close(ours, golden["vq_output"], **PARITY)


def test_the_installed_library_quantizes_as_the_reference(codec, golden):
    quantized, indices, _ = codec.flow_matching.vq_embed(golden["vq_features"])
    assert torch.equal(indices, golden["vq_indices"])
    assert_close(quantized, golden["vq_quantized"], **PARITY)


def test_nearest_codes_are_the_reference_codes(codec, golden):
    found = codec.flow_matching.quantize(codec.flow_matching.project_in(golden["vq_features"]))
    assert torch.equal(found.codes.transpose(1, 2), golden["vq_indices"])
    assert_close(codec.flow_matching.vq_embed.project_out(found.vectors), golden["vq_quantized"], **PARITY)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 6))
def test_each_level_takes_the_nearest_code_of_what_is_left(seed, levels, frames):
    generator = torch.Generator().manual_seed(seed)
    codebooks = torch.randn(levels, 11, 3, generator=generator)
    e = torch.randn(2, frames, 3, generator=generator)
    found = nearest_codes(codebooks, e)
    residual = e.clone()
    for level, codebook in enumerate(codebooks):
        distance = torch.cdist(residual.double(), codebook.double().expand(2, -1, -1))
        chosen = distance.gather(-1, found.codes[:, level, :, None])[..., 0]
        assert_close(chosen, distance.min(-1).values, rtol=1e-4, atol=1e-4)
        residual = residual - codebook[found.codes[:, level]]
    assert_close(found.vectors, e - residual, rtol=1e-4, atol=1e-4)
    assert_close(found.vectors, code_vectors(codebooks, found.codes).sum(1))


def test_training_mode_leaves_the_codebooks_alone(codec, golden):
    before = codec.flow_matching.codebooks.clone()
    try:
        codec.train()
        codec.flow_matching.vq_embed(golden["vq_features"])
    finally:
        codec.eval()
    assert torch.equal(codec.flow_matching.codebooks, before)
