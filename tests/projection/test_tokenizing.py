import pytest
import torch

from heartopt.audio import AudioTensor
from heartopt.errors import AudioError, CheckpointError
from heartopt.projection import EncoderProjection, encode_with_projection, tokenize_source
from heartopt.projection.tokenizing import CHUNK_FRAMES


@pytest.fixture(params=[("linear", 128), ("query", 256)], ids=["mono-linear", "stereo-query"])
def projection(request):
    torch.manual_seed(0)
    kind, latent_dim = request.param
    return EncoderProjection(latent_dim, 64, 64, projection_type=kind).eval()


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (480, 1), (3840, 1), (3841, 2), (48_000, 13)])
def test_tokens_have_a_frame_for_each_begun_3840_samples(codec, projection, samples, frames):
    tokens = encode_with_projection(torch.randn(2, 2, samples), codec, projection)
    assert tokens.shape == (2, 4, frames)
    assert tokens.dtype == torch.int64
    assert 0 <= tokens.min() <= tokens.max() < 128
    assert codec.detokenize(tokens[0], 7.44, 1).shape == (2, frames * 3840)


def test_a_long_song_is_tokenized_in_pieces_as_in_one(codec, projection):
    source = AudioTensor(0.1 * torch.randn(2, (CHUNK_FRAMES + 60) * 3840, generator=torch.Generator().manual_seed(0)))
    tokens = tokenize_source(source, codec, projection)
    with torch.no_grad():
        mono = projection.latent_dim == 128
        audio = source.read().mean(0, keepdim=True) if mono else source.read()
        latents = codec.encode_channels(audio[None])[:, 0] if mono else codec.encode_latents(audio[None])
        whole = codec.flow_matching.quantize(codec.flow_matching.project_in(projection.project(latents))).codes[0]
    # Sums in another order may move a vector across the border between two codes, seldom.
    assert (tokens != whole).float().mean() < 0.005


def test_the_last_piece_of_a_conv1d_projection_is_as_long_as_the_others(codec, monkeypatch):
    lengths = []
    projection = EncoderProjection(256, 64, 64, projection_type="conv1d").eval()
    project = projection.project
    monkeypatch.setattr(
        projection, "project", lambda latents: lengths.append(latents.shape[1] // 2) or project(latents)
    )
    tokens = tokenize_source(AudioTensor(torch.randn(2, (CHUNK_FRAMES + 8) * 3840)), codec, projection)
    assert tokens.shape[-1] == CHUNK_FRAMES + 8
    assert min(lengths) >= CHUNK_FRAMES


def test_a_mono_projection_hears_the_mean_of_the_channels(codec):
    torch.manual_seed(0)
    projection = EncoderProjection(128, 64, 64).eval()
    stereo = torch.randn(1, 2, 9600)
    both = encode_with_projection(stereo, codec, projection)
    mean = encode_with_projection(stereo.mean(1), codec, projection)
    assert torch.equal(both, mean)


def test_a_report_checkpoint_reads_the_latents_before_the_tanh(codec):
    torch.manual_seed(0)
    projection = EncoderProjection(128, 64, 64, latents="pre_tanh").eval()
    audio = torch.randn(1, 48_000)
    tokens = encode_with_projection(audio, codec, projection)
    padded = torch.nn.functional.pad(audio, (0, -audio.shape[-1] % 3840))
    latents = codec.scalar_model.encode(padded[:, None], pre_tanh=True).transpose(1, 2)
    expected = codec.flow_matching.quantize(codec.flow_matching.project_in(projection.project(latents))).codes
    assert torch.equal(tokens, expected)


@pytest.mark.parametrize("shape", [(5,), (1, 3, 100), (1, 0), (1, 2, 3, 4)])
def test_audio_of_another_shape_is_refused(codec, projection, shape):
    with pytest.raises(AudioError, match=r"give \[B, N\]"):
        encode_with_projection(torch.zeros(shape), codec, projection)


def test_a_projection_for_another_codec_is_refused(codec):
    with pytest.raises(CheckpointError, match="width 512"):
        encode_with_projection(torch.zeros(1, 100), codec, EncoderProjection(128, 512, 64))
