from __future__ import annotations

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.evaluation.lossy import lossy_roundtrip
from heartopt.evaluation.systems import Decoding, Setup, Subject, SystemSpec
from heartopt.optimize import OptimizeSettings


@pytest.mark.parametrize("spec", ["mp3:128", "opus:64", "aac:96"])
def test_a_codec_at_a_bitrate(spec: str, codec: HeartCodec) -> None:
    setup = Setup(codec, None, Decoding(7.44), OptimizeSettings(), seed=0)
    time = torch.arange(48_000) / 48_000
    target = 0.2 * torch.sin(2 * torch.pi * torch.tensor([[440.0], [660.0]]) * time)
    found = SystemSpec.parse(spec).make()(setup, Subject(0, target, lambda: target))
    name, _, kbps = spec.partition(":")
    audio, actual = lossy_roundtrip(target, name, int(kbps))
    assert found.audio is not None and torch.equal(found.audio, audio) and found.kbps == actual
    assert found.audio.shape == target.shape and found.timed
