"""The training report's per-file method, as `benchmarks/report_optimize.py` has it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from heartopt import HeartCodec
from heartopt.errors import AudioError

CODEC = Path(__file__).parents[1] / "data" / "codec"


@pytest.fixture(scope="module")
def codec() -> HeartCodec:
    return HeartCodec.from_pretrained(CODEC)


@pytest.fixture(autouse=True)
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("report_optimize")


def test_a_levels_residual_goes_to_the_next_one(report: Any) -> None:
    codebooks = torch.tensor([[[0.0], [1.0]], [[0.0], [0.25]]])
    embeddings = torch.tensor([[[0.9]], [[0.3]]])  # 1.0 leaves -0.1, and 0.3 - 0.1 = 0.2 is nearer to 0.25
    assert report.round_levels(codebooks, embeddings).tolist() == [[1], [1]]
    assert report.round_levels(codebooks, torch.tensor([[[0.9]], [[0.2]]])).tolist() == [[1], [0]]


@pytest.mark.parametrize("in_loop", [False, True])
def test_it_descends_repeatably_to_codes_of_the_codec(report: Any, codec: HeartCodec, in_loop: bool) -> None:
    audio = 0.1 * torch.randn(2, 9_000, generator=torch.Generator().manual_seed(0))
    one, two = (list(report.report_optimize(audio, codec, in_loop=in_loop, steps=6)) for _ in range(2))
    assert [record.loss for record in one] == [record.loss for record in two]
    assert min(record.loss for record in one) <= one[0].loss
    assert one[-1].codes.shape == (codec.config.num_quantizers, 3)
    assert 0 <= int(one[-1].codes.min()) <= int(one[-1].codes.max()) < codec.config.codebook_size


def test_songs_over_thirty_seconds_are_refused(report: Any, codec: HeartCodec) -> None:
    with pytest.raises(AudioError, match="at most 30 s"):
        next(report.report_optimize(torch.zeros(2, 31 * 48_000), codec))
