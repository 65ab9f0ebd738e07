"""A codec that loads and runs, and codecs that do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.doctor.codec import codec_check, round_trip, values_of
from heartopt.errors import ConfigError

from .conftest import CODEC


@pytest.fixture(scope="module")
def codec() -> HeartCodec:
    return HeartCodec.from_pretrained(CODEC)


def test_a_codec_that_loads(codec: HeartCodec) -> None:
    check, loaded = codec_check(lambda: codec)
    assert loaded is codec
    assert check.status == "ok"
    assert check.detail.startswith(f"{CODEC}: 0.8 million values, float32, fingerprint {codec.fingerprint()[:16]}")
    assert values_of(codec) == sum(tensor.numel() for tensor in codec.state_dict().values()) > 770_451 - 1


def test_codecs_that_do_not_load(tmp_path: Path) -> None:
    check, loaded = codec_check(lambda: HeartCodec.from_pretrained(tmp_path))
    assert loaded is None
    assert (check.status, check.detail) == ("failed", f"codec {tmp_path}: no config.json in this folder")
    assert "--codec mini" in check.remedy
    broken = tmp_path / "broken"
    shutil.copytree(CODEC, broken)
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    check, loaded = codec_check(lambda: HeartCodec.from_pretrained(broken))
    assert (check.status, loaded) == ("failed", None)
    assert "not readable as safetensors" in check.detail


def test_memory_that_runs_out_is_a_finding() -> None:
    def load() -> HeartCodec:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    check, _ = codec_check(load)
    assert check.status == "failed" and "can't allocate memory" in check.detail


def test_settings_that_make_no_sense_are_wrong_usage() -> None:
    with pytest.raises(ConfigError, match="has no revision main"):
        codec_check(lambda: HeartCodec.from_pretrained("mini", revision="main"))


def test_the_round_trip_runs_and_leaves_the_global_draws_alone(codec: HeartCodec) -> None:
    state = torch.random.get_rng_state()
    check = round_trip(codec)
    assert check.status == "ok"
    assert f"{codec.config.num_quantizers} × 6 codes and back on cpu" in check.detail and check.detail.endswith(
        "all finite"
    )
    assert torch.equal(torch.random.get_rng_state(), state)


def test_audio_that_is_not_finite_fails(codec: HeartCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = codec.decode_latents
    monkeypatch.setattr(codec, "decode_latents", lambda latents: decode(latents) * torch.nan)
    check = round_trip(codec)
    assert check.status == "failed"
    assert "not finite" in check.detail and "--dtype float32" in check.remedy
