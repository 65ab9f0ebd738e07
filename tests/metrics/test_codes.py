from __future__ import annotations

import pytest
import torch

from heartopt.errors import TokenError
from heartopt.metrics.codes import code_statistics


def test_closed_forms() -> None:
    frames = 16
    codes = torch.stack(
        [
            torch.full((frames,), 7),  # one code: perplexity 1
            torch.arange(frames),  # each once: perplexity F
            torch.arange(frames) % 4,  # four, equally often
            torch.tensor([0] * 8 + [1] * 4 + [2] * 4),  # entropy 1.5 bits
        ]
    )
    found = code_statistics(codes, codebook_size=64)
    assert found.used == (1, 16, 4, 3)
    assert found.usage == pytest.approx((1 / 64, 16 / 64, 4 / 64, 3 / 64))
    assert found.perplexity == pytest.approx((1, 16, 4, 2**1.5))


def test_metrics_name_levels_from_one_and_give_means() -> None:
    metrics = code_statistics(torch.tensor([[0, 0], [0, 1]]), codebook_size=4).metrics()
    assert metrics["usage"] == pytest.approx(3 / 8)
    assert metrics["perplexity"] == pytest.approx(1.5)
    assert metrics["usage_1"] == 0.25 and metrics["perplexity_2"] == pytest.approx(2)
    assert set(metrics) == {f"{name}{level}" for name in ("usage", "perplexity") for level in ("", "_1", "_2")}


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), "codes must be integers"),
        (torch.zeros(2, 0, dtype=torch.int64), "at least one frame"),
        (torch.zeros(2, 3), "float32"),
        (torch.tensor([[0, 4]]), "codes from 0 to 4 are outside 0..3"),
        (torch.tensor([[-1, 2]]), "codes from -1 to 2"),
    ],
)
def test_refuses_what_are_no_codes(codes: torch.Tensor, message: str) -> None:
    with pytest.raises(TokenError, match=message):
        code_statistics(codes, codebook_size=4)
