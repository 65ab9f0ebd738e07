"""One metric of one pair."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from heartopt.metrics import METRICS
from heartopt.metrics.metric import Value
from heartopt.metrics.pair import Pair, Signal

Score = Callable[[str, Tensor, Tensor], Value]


@pytest.fixture(scope="session")
def score() -> Score:
    """`score("stft", estimate, target)`."""
    return lambda name, estimate, target: METRICS[name].compute(Pair(Signal(estimate), Signal(target)))
