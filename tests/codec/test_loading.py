import json
import shutil

import pytest
import torch
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


def test_the_release_has_818_tensors_and_its_shapes(codec):
    with torch.device("meta"):
        release = HeartCodec(HeartCodecConfig())
    state = release.state_dict()
    assert len(state) == RELEASE_TENSORS
    assert sum(t.numel() for t in state.values()) == pytest.approx(RELEASE_VALUES, rel=0.01)
    # Every layer of the small codec is there under the same name, widened as the configs say.
    assert set(codec.state_dict()) <= set(state)
    assert {name: tensor.ndim for name, tensor in codec.state_dict().items()}.items() <= {
        name: tensor.ndim for name, tensor in state.items()
    }.items()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes["flow_matching.estimator.transformer_blocks.23.mlp.gate.weight"] == (4096, 1536)
    assert shapes["flow_matching.estimator.transformer_blocks_2.5.attn.q_proj.weight"] == (3072, 3072)
    assert shapes["flow_matching.estimator.transformer_blocks_2.5.mlp.down.weight"] == (3072, 8192)
    assert shapes["flow_matching.estimator.connection_proj.ffn_1.weight"] == (3072, 1024 + 1536, 3)
    assert shapes["flow_matching.estimator.proj_in.ffn_1.weight"] == (1536, 1024, 3)
    assert shapes["flow_matching.estimator.proj_out.ffn_2.weight"] == (256, 256)
    assert shapes["flow_matching.vq_embed.layers.7._codebook.embed"] == (1, 8192, 32)
    assert shapes["scalar_model.encoder.7.parametrizations.weight.original1"] == (128, 2048, 7)
    assert shapes["scalar_model.decoder.0.parametrizations.weight.original1"] == (2048, 128, 5)
    assert shapes["scalar_model.decoder.7.parametrizations.weight.original1"] == (1, 64, 7)


def test_save_pretrained_writes_the_reference_names_shapes_and_fields(codec, codec_folder, tensors, tmp_path):
    codec.save_pretrained(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    assert {n: t.shape for n, t in written.items()} == {n: t.shape for n, t in tensors.items()}
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads((codec_folder / "config.json").read_text())
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
