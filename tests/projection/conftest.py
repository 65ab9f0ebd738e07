from pathlib import Path

import pytest

from heartopt import HeartCodec


@pytest.fixture(scope="session")
def data_folder() -> Path:
    return Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def codec(data_folder) -> HeartCodec:
    return HeartCodec.from_pretrained(data_folder / "codec")
