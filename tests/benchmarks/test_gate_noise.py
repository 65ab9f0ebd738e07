"""The arithmetic of `benchmarks/gate_noise.py`: noise is found where there is some, and damage where there is some."""

from __future__ import annotations

import importlib
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heartopt.metrics.quantity import Quantity
from heartopt.projection import EncoderProjection

LOWER = Quantity("x", "x", better="lower", tolerance=0.5)


@pytest.fixture
def gate_noise(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("gate_noise")


def test_no_noise_no_worsening(gate_noise: Any) -> None:
    values = np.arange(6.0)[:, None].repeat(5, axis=1)
    found = gate_noise.compare_runs(values, values, LOWER, same=True, draws=50)
    assert (found.above, found.largest, found.fails, found.worse_by) == (0, 0, 0, 0)


def test_independent_noise_looks_worse_in_one_of_forty_pairs(gate_noise: Any) -> None:
    """The interval is at its nominal 95 %, so 2.5 % of equal pairs lie above zero (±1 % by chance at 2,000 pairs)."""
    values = np.random.default_rng(1).normal(size=(6, 200))
    found = gate_noise.compare_runs(values, values, LOWER, same=True, draws=2000)
    assert found.above == pytest.approx(0.025, abs=0.011)
    assert abs(found.worse_by) < 0.05
    assert 0 < found.fails <= found.above and found.largest > LOWER.tolerance


def test_damage_fails_and_improvement_does_not(gate_noise: Any) -> None:
    then = np.random.default_rng(1).normal(scale=0.1, size=(6, 8))
    worse, better = (gate_noise.compare_runs(then, then + by, LOWER, same=False, draws=50) for by in (2.0, -2.0))
    assert (worse.fails, better.fails) == (1, 0)
    assert worse.worse_by == pytest.approx(2, abs=0.1) == -better.worse_by


def test_values_below_the_floor_are_the_floor(gate_noise: Any) -> None:
    ratio = Quantity("x", "x", better="higher", floor=-10.0)
    then = np.random.default_rng(1).normal(loc=-40, size=(6, 8))
    assert gate_noise.compare_runs(then, then - 20, ratio, same=False, draws=20).worse_by == 0


def test_what_has_no_numbers_says_so(gate_noise: Any) -> None:
    nothing = np.full((6, 8), math.nan)
    found = gate_noise.compare_runs(nothing, nothing, LOWER, same=True, draws=5)
    assert (found.above, found.fails) == (0, 0) and math.isnan(found.worse_by)


def test_a_spoiled_projection_is_another(gate_noise: Any) -> None:
    projection = EncoderProjection(8, 4, 8, projection_type="linear")
    same, spoiled = gate_noise.spoil(projection, 0.0), gate_noise.spoil(projection, 1.0)
    for before, kept, changed in zip(*(p.parameters() for p in (projection, same, spoiled)), strict=True):
        varies = bool(before.std(unbiased=False) > 0)  # norms are all ones at first
        assert torch.equal(before, kept) and torch.equal(before, changed) != varies


def test_the_page_has_a_row_a_metric(gate_noise: Any) -> None:
    kinds = {"noise": gate_noise.Noise(0.02, 0.03, 0.001, 0.0), "untrained": gate_noise.Noise(1, 1, 1, 0.45)}
    metrics = {"stft": {kind: asdict(noise) for kind, noise in kinds.items()}}
    page = gate_noise.page({"songs": 6, "seeds": 14, "metrics": metrics})
    assert "| stft (↓) | 0.04 | 0.0300 | 0.1% | +0.4500 (100%) |" in page
