import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from heartopt import HeartCodec
from heartopt.errors import CheckpointError, OutputError
from heartopt.projection import (
    EncoderProjection,
    check_fits,
    default_projection,
    load_projection,
    save_projection,
)


@pytest.mark.parametrize("kind", ["linear", "conv1d", "query"])
def test_a_saved_projection_comes_back(kind, tmp_path):
    projection = EncoderProjection(256, 64, 64, projection_type=kind)
    save_projection(projection, tmp_path / "p.safetensors", {"fingerprint": "f" * 64, "note": "mine"})
    again = load_projection(tmp_path / "p.safetensors")
    assert again.settings == projection.settings
    latents = torch.randn(1, 8, 256)
    assert_close(again.project(latents), projection.project(latents))
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert json.loads((tmp_path / "p.json").read_text()) == {
        "projection": projection.settings,
        "fingerprint": "f" * 64,
        "note": "mine",
    }
    assert again.codec_fingerprint == "f" * 64


def test_values_that_are_not_finite_are_refused(tmp_path):
    projection = EncoderProjection(128, 64, 32)
    with torch.no_grad():
        projection.net[3].bias[2] = torch.nan
    save_projection(projection, tmp_path / "p.safetensors", {})
    with pytest.raises(CheckpointError, match=r"not finite in net\.3\.bias"):
        load_projection(tmp_path / "p.safetensors")


def test_a_loaded_projection_outlives_its_file(tmp_path):
    projection = EncoderProjection(128, 64, 32)
    save_projection(projection, tmp_path / "p.safetensors", {})
    again = load_projection(tmp_path / "p.safetensors")
    (tmp_path / "p.safetensors").write_bytes(b"")  # in place: a mapped file would be gone now
    assert torch.equal(again.net[0].weight, projection.net[0].weight)


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "p.safetensors"
    save_projection(EncoderProjection(128, 64, 32), path, {})
    before = path.read_bytes()

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device"):
        save_projection(EncoderProjection(128, 64, 32), path, {})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"\x00" * 40), "not readable as safetensors"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), "not a heartopt projection"),
        *(
            (
                lambda path, header=header: save_file({"a": torch.zeros(1)}, path, metadata=header),
                "not a heartopt projection|not readable",
            )
            for header in (
                {"heartopt_projection": "[1]"},
                {"heartopt_projection": "{}", "heartopt_card": "3"},
                {"heartopt_projection": "{"},
            )
        ),
        (
            lambda path: save_file(
                {"net.0.weight": torch.zeros(3)},
                path,
                metadata={"heartopt_projection": json.dumps(EncoderProjection(128, 64, 64).settings)},
            ),
            "do not fit its settings",
        ),
    ],
)
def test_files_that_are_no_projection_are_named(tmp_path, write, message):
    path = tmp_path / "p.safetensors"
    write(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_projection(path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_a_projection_is_named(tmp_path):
    torch.save({"model": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="no projection_state_dict"):
        load_projection(tmp_path / "other.pt")


def test_widths_must_be_the_codecs(codec):
    check_fits(EncoderProjection(128, 64, 64), codec)
    check_fits(EncoderProjection(256, 64, 64), codec)
    with pytest.raises(CheckpointError, match="width 512, the codec takes 64"):
        check_fits(EncoderProjection(128, 512, 64), codec)
    other = EncoderProjection(256, 64, 64)
    other.codec_fingerprint = "0" * 64
    with pytest.raises(CheckpointError, match="trained for the codec 000000000000"):
        check_fits(other, codec)
    with pytest.raises(CheckpointError, match="64 wide, the codec gives 128"):
        check_fits(EncoderProjection(64, 64, 64), codec)


def test_only_the_embedded_codec_has_a_default(codec):
    check_fits(default_projection(HeartCodec.from_pretrained("mini")), HeartCodec.from_pretrained("mini"))
    with pytest.raises(CheckpointError, match="--projection"):
        default_projection(codec)
