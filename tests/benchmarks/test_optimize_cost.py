"""What a window of the release costs to refine, as `benchmarks/optimize_cost.py` computes it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from heartopt.codec import HeartCodecConfig
from heartopt.optimize import FlowSettings, OdeSettings, OptimizeSettings


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("optimize_cost")


@pytest.fixture
def window(cost: Any) -> Any:
    return cost.Window(HeartCodecConfig(), OptimizeSettings())


def test_a_flow_step_is_a_pass_there_and_back_a_draw(cost: Any, window: Any) -> None:
    one = cost.Window(HeartCodecConfig(), OptimizeSettings(flow=FlowSettings(draws=1)))
    assert window.step("flow") == one.step("flow") * window.settings.flow.draws
    assert one.step("flow") == one.passed + one.back


def test_the_sampled_gradient_saves_most_of_the_transformers_work(cost: Any, window: Any) -> None:
    every = cost.Window(HeartCodecConfig(), OptimizeSettings(ode=OdeSettings(gradient_steps=8)))
    saved = every.step("ode").flow - window.step("ode").flow
    assert saved == pytest.approx(6 * (window.passed + window.back).flow)


def test_less_memory_means_fewer_draws_and_shorter_pieces_and_at_last_nothing(window: Any) -> None:
    assert window.fitting(80) == (window.settings.flow.draws, window.settings.ode.piece_seconds)
    draws, piece = window.fitting(8) or (0, 0.0)
    assert draws < window.settings.flow.draws
    assert piece < window.settings.ode.piece_seconds
    assert window.fitting(4) is None


def test_seconds_follow_from_the_rates(cost: Any) -> None:
    assert cost.Work(3e12, 2e12).seconds(3.0, 1.0) == pytest.approx(3.0)
