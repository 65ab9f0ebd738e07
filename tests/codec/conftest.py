"""The golden codec and what the reference implementation computed with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from heartopt import HeartCodec

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def golden() -> dict[str, Tensor]:
    with np.load(DATA / "codec_io.npz", allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="session")
def codec() -> HeartCodec:
    return HeartCodec.from_pretrained(DATA / "codec")


@pytest.fixture(scope="session")
def codec_folder() -> Path:
    return DATA / "codec"
