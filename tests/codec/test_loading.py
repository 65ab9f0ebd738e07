import json
import math
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from heartopt import HeartCodec, HeartCodecConfig
from heartopt.errors import CodecError

RELEASE_TENSORS = 818
RELEASE_VALUES = 1.66e9


@pytest.fixture
def tensors(codec_folder):
    return load_file(codec_folder / "model.safetensors")


@pytest.fixture
def folder(tmp_path, codec_folder):
    """A writable folder with the golden config alone."""
    shutil.copy(codec_folder / "config.json", tmp_path)
    return tmp_path


def assert_same_codec(one, other):
    assert one.fingerprint() == other.fingerprint()


def release_shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the release with its shape, from the published layout alone."""
    width, hidden, features, code, codes, levels = 64, 128, 512, 32, 8192, 8
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name, out, into, bias=True):
        shapes[f"{name}.weight"] = (out, into)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    def conv(name, out, into, kernel, transposed=False):
        first, second = (into, out) if transposed else (out, into)
        shapes[f"{name}.bias"] = (out,)
        shapes[f"{name}.parametrizations.weight.original0"] = (first, 1, 1)
        shapes[f"{name}.parametrizations.weight.original1"] = (first, second, kernel)

    def plain(name, channels):
        shapes[f"{name}.conv.weight"] = (channels, channels, 7)
        shapes[f"{name}.conv.bias"] = (channels,)
        shapes[f"{name}.activation.weight"] = (1,)

    def units(name, channels):
        for unit in range(5):
            conv(f"{name}.convs.{unit}.conv1", channels, channels, 7)
            conv(f"{name}.convs.{unit}.conv2", channels, channels, 1)
            for activation in ("activation1", "activation2"):
                shapes[f"{name}.convs.{unit}.{activation}.weight"] = (1,)

    strides = (3, 4, 4, 4, 5)
    conv("scalar_model.encoder.0", width, 1, 7)
    plain("scalar_model.encoder.1", width)
    plain("scalar_model.decoder.6", width)
    for i, stride in enumerate(strides):
        narrow, wide = width * 2**i, width * 2 ** (i + 1)
        units(f"scalar_model.encoder.{2 + i}", narrow)
        conv(f"scalar_model.encoder.{2 + i}.down_conv.layer", wide, narrow, 2 * stride)
        shapes[f"scalar_model.encoder.{2 + i}.down_conv.activation.weight"] = (1,)
        units(f"scalar_model.decoder.{5 - i}", narrow)
        conv(f"scalar_model.decoder.{5 - i}.up_conv.layer", narrow, wide, 2 * stride, transposed=True)
    conv("scalar_model.encoder.7", hidden, width * 32, 7)
    conv("scalar_model.decoder.0", width * 32, hidden, 5)
    conv("scalar_model.decoder.7", 1, width, 7)

    flow = "flow_matching"
    linear(f"{flow}.vq_embed.project_in", code, features)
    linear(f"{flow}.vq_embed.project_out", features, code)
    for level in range(levels):
        book = f"{flow}.vq_embed.layers.{level}._codebook"
        shapes[f"{book}.embed"] = shapes[f"{book}.embed_avg"] = (1, codes, code)
        shapes[f"{book}.cluster_size"] = (1, codes)
        shapes[f"{book}.initted"] = ()
    linear(f"{flow}.cond_feature_emb", features, features)
    shapes[f"{flow}.zero_cond_embedding1"] = (features,)
    raw, inner, outer, out = 256 + 256 + 512, 24 * 64, 24 * 128, 256
    for name, into, to in (
        ("proj_in", raw, inner),
        ("connection_proj", raw + inner, outer),
        ("proj_out", outer, out),
    ):
        shapes[f"{flow}.estimator.{name}.ffn_1.weight"] = (to, into, 3)
        shapes[f"{flow}.estimator.{name}.ffn_1.bias"] = (to,)
        linear(f"{flow}.estimator.{name}.ffn_2", to, to)
    for suffix, dim, blocks, mlp in (("", inner, 24, 4096), ("_2", outer, 6, 8192)):
        shapes[f"{flow}.estimator.scale_shift_table{suffix}"] = (2, dim)
        linear(f"{flow}.estimator.adaln_single{suffix}.linear", 6 * dim, dim)
        linear(f"{flow}.estimator.adaln_single{suffix}.emb.timestep_embedder.linear_1", dim, 512)
        linear(f"{flow}.estimator.adaln_single{suffix}.emb.timestep_embedder.linear_2", dim, dim)
        for block in (f"{flow}.estimator.transformer_blocks{suffix}.{i}" for i in range(blocks)):
            shapes[f"{block}.scale_shift_table"] = (6, dim)
            shapes[f"{block}.attn_norm.weight"] = shapes[f"{block}.mlp_norm.weight"] = (dim,)
            for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
                linear(f"{block}.attn.{part}", dim, dim, bias=False)
            linear(f"{block}.mlp.gate", mlp, dim, bias=False)
            linear(f"{block}.mlp.up", mlp, dim, bias=False)
            linear(f"{block}.mlp.down", dim, mlp, bias=False)
    return shapes


def test_the_release_has_818_tensors_of_the_published_shapes():
    with torch.device("meta"):
        release = HeartCodec(HeartCodecConfig())
    shapes = {name: tuple(tensor.shape) for name, tensor in release.state_dict().items()}
    for name in [name for name in shapes if name.endswith("initted")]:
        assert shapes[name] in ((), (1,))  # versions of the quantizer library differ
        shapes[name] = ()
    assert shapes == release_shapes()
    assert len(shapes) == RELEASE_TENSORS
    assert sum(math.prod(shape) for shape in shapes.values()) == pytest.approx(RELEASE_VALUES, rel=0.01)


def test_save_pretrained_writes_the_reference_names_shapes_and_fields(codec, codec_folder, tensors, tmp_path):
    codec.save_pretrained(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    assert {n: t.shape for n, t in written.items()} == {n: t.shape for n, t in tensors.items()}
    wanted = json.loads((codec_folder / "config.json").read_text())
    wanted["transformers_version"] = transformers.__version__  # who wrote it, not what it holds
    assert json.loads((tmp_path / "config.json").read_text()) == wanted
    assert_same_codec(HeartCodec.from_pretrained(tmp_path), codec)


def test_the_complete_layout_loads_below_its_prefix(codec, folder, tensors):
    complete = {f"decoder.{name}": tensor for name, tensor in tensors.items()}
    complete["encoder.anything"] = torch.zeros(3)
    save_file(complete, folder / "model.safetensors")
    assert_same_codec(HeartCodec.from_pretrained(folder), codec)


def test_shards_load_as_one(codec, folder, tensors):
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_same_codec(HeartCodec.from_pretrained(folder), codec)
    (folder / "b.safetensors").unlink()
    with pytest.raises(CodecError, match=r"b\.safetensors is missing"):
        HeartCodec.from_pretrained(folder)
    for damaged in ("{", "{}", "[]"):
        (folder / "model.safetensors.index.json").write_text(damaged)
        with pytest.raises(CodecError, match="not an index of shards"):
            HeartCodec.from_pretrained(folder)


def test_the_complete_layout_loads_from_shards(codec, folder, tensors):
    save_file({"encoder.anything": torch.zeros(3)}, folder / "a.safetensors")
    save_file({f"decoder.{name}": tensor for name, tensor in tensors.items()}, folder / "b.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_same_codec(HeartCodec.from_pretrained(folder), codec)


def test_codebook_flags_load_with_and_without_a_dimension(codec, folder, tensors):
    for name in [name for name in tensors if name.endswith("initted")]:
        tensors[name] = tensors[name].reshape(1)
    save_file(tensors, folder / "model.safetensors")
    assert_same_codec(HeartCodec.from_pretrained(folder), codec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("scalar_model.decoder.7.bias"), "1 tensors are missing, such as scalar_model.decoder.7.bias"),
        (lambda t: t.update(extra=torch.zeros(1)), "1 tensors are unknown, such as extra"),
        (
            lambda t: t.update({"scalar_model.decoder.7.bias": torch.zeros(3)}),
            r"scalar_model.decoder.7.bias \[3\] instead of \[1\]",
        ),
    ],
)
def test_tensors_that_do_not_match_are_named(folder, tensors, change, message):
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CodecError, match=message):
        HeartCodec.from_pretrained(folder)


def test_what_is_no_codec_is_refused_in_one_line(folder, tmp_path, monkeypatch):
    with pytest.raises(CodecError, match=r"model\.safetensors is missing"):
        HeartCodec.from_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(CodecError, match="not readable as safetensors"):
        HeartCodec.from_pretrained(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CodecError, match=r"no config\.json"):
        HeartCodec.from_pretrained(tmp_path / "empty")
    (folder / "config.json").write_text("{")
    with pytest.raises(CodecError, match=r"config\.json is not readable"):
        HeartCodec.from_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CodecError, match="model type 'bert'"):
        HeartCodec.from_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "heartcodec", "downsample_factors": [3], "num_layers": "x"}')
    with pytest.raises(CodecError, match="describes no codec"):
        HeartCodec.from_pretrained(folder)
    with pytest.raises(CodecError, match="no such folder"):
        HeartCodec.from_pretrained("nothing-here")


def test_an_unknown_hub_id_offline_is_one_line():
    with pytest.raises(CodecError, match="not in the local cache") as caught:
        HeartCodec.from_pretrained("nobody/no-such-codec", local_files_only=True)
    assert "\n" not in str(caught.value)


def test_the_embedded_codec_is_package_data_that_decodes():
    codec = HeartCodec.from_pretrained("mini")
    assert codec.name == "mini"
    assert len(codec.state_dict()) == 598
    assert codec.flow_matching.codebooks.shape == (8, 1024, 32)
    assert not any(p.requires_grad for p in codec.parameters())
    assert not codec.training
    time = torch.arange(48_000) / 48_000
    audio = 0.3 * torch.sin(2 * torch.pi * 220 * time).expand(1, 2, -1)
    back = codec.decode_latents(codec.encode_latents(audio))[..., : audio.shape[-1]]
    # A tone survives the waveform autoencoder: its level and its pitch.
    assert_close(back.square().mean().sqrt(), audio.square().mean().sqrt(), rtol=0.3, atol=0)
    assert abs(int(torch.fft.rfft(back[0, 0]).abs().argmax()) - 220) <= 2
