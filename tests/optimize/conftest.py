from pathlib import Path

import pytest
import torch

from heartopt import HeartCodec

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def codec() -> HeartCodec:
    return HeartCodec.from_pretrained(DATA / "codec")


@pytest.fixture
def audio() -> torch.Tensor:
    """One second of stereo: noise that swells, the same each time."""
    noise = torch.randn(2, 48_000, generator=torch.Generator().manual_seed(0))
    return 0.1 * noise * torch.linspace(0, 1, 48_000)
