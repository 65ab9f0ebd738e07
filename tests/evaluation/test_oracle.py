from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from heartopt.audio import AudioFile, stereo
from heartopt.codec import HeartCodec
from heartopt.errors import CodecError
from heartopt.evaluation.controls import random_codes
from heartopt.evaluation.oracle import OracleEncoder, has_oracle, oracle_codes

ROOT = Path(__file__).parents[2]
EXCERPT = ROOT / "benchmarks" / "suites" / "excerpts" / "nebula.flac"


def test_mel_frames_are_of_20_ms_and_hold_mid_and_side() -> None:
    encoder = OracleEncoder()
    tone = 0.5 * torch.sin(2 * torch.pi * 1000 * torch.arange(7680) / 48_000)
    mono, opposed = encoder.mel(torch.stack([tone, tone])), encoder.mel(torch.stack([tone, -tone]))
    assert mono.shape == (8, 160)
    assert torch.equal(mono[:, 80:], torch.full((8, 80), -5.0))  # no side: the floor
    torch.testing.assert_close(opposed, mono.roll(80, dims=1))
    assert encoder(torch.stack([tone, tone])).shape == (2, 512)


def test_codes_are_right_in_length_and_far_better_than_random_ones(codec: HeartCodec) -> None:
    """By the codec's own flow loss with common noise; the card has 0.279 against 0.353 on other songs."""
    with AudioFile(EXCERPT) as file:
        audio = stereo(file.read(0, 4 * 48_000 - 100))
    codes = oracle_codes(audio, codec)
    config = codec.config
    assert codes.shape == (config.num_quantizers, 50) and codes.dtype == torch.int64
    random = random_codes(audio.shape[-1], num_quantizers=8, codebook_size=config.codebook_size, seed=0)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(6, 100, 256, generator=generator)
    times = (torch.arange(6) + 0.5) / 6
    with torch.no_grad():
        latents = codec.encode_latents(audio[None]).expand(6, -1, -1)
        losses = [
            codec.flow_matching.flow_loss(
                latents,
                codec.flow_matching.condition(candidate[None]).expand(6, -1, -1),
                times=times,
                noise=noise,
                context=None,
                frames=None,
            ).mean()
            for candidate in (codes, random)
        ]
    assert losses[0] < losses[1] - 0.04


def test_only_the_embedded_codec_has_one(codec: HeartCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_oracle(codec)
    monkeypatch.setattr(codec, "name", "HeartMuLa/HeartCodec-oss-20260123")
    assert not has_oracle(codec)
    with pytest.raises(CodecError, match="no oracle encoder"):
        oracle_codes(torch.zeros(2, 3840), codec)


def test_the_suites_songs_were_seen_in_no_training() -> None:
    """The excerpts of both suites come from the codec's test split, and none from its train or dev split."""
    import yaml

    data = ROOT / "heartopt" / "codec" / "data" / "mini"
    lists = {}
    for name in ("train_files", "heldout_files"):
        with open(data / f"{name}.tsv", encoding="utf-8", newline="") as file:
            lists[name] = {(row["package"], row["file"]) for row in csv.DictReader(file, delimiter="\t")}
    for suite in ("mini", "heldout"):
        record = yaml.safe_load((ROOT / "benchmarks" / "suites" / f"{suite}.yaml").read_text(encoding="utf-8"))
        songs = {(song["source"]["package"], Path(song["source"]["path"]).name) for song in record["songs"]}
        assert len(songs) == len(record["songs"]) >= 3
        assert songs <= lists["heldout_files"] and not songs & lists["train_files"]
