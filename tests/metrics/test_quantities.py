from __future__ import annotations

import pytest
import torch

from heartopt.metrics import METRICS, QUANTITIES, code_statistics, quantity


def test_every_metric_says_what_it_is() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name == quantity(name).name
        assert metric.about and metric.range and metric.source and metric.blind, name
        assert metric.better is not None and metric.tolerance > 0, name


def test_every_statistic_of_codes_has_a_quantity_that_only_describes() -> None:
    found = code_statistics(torch.arange(12).reshape(2, 6), 16).metrics()
    for name in found:
        known = quantity(name)
        assert known.better is None and known.about != name, name
    assert "level 2" in quantity("usage_2").about and quantity("usage_2").decimals == QUANTITIES["usage"].decimals


def test_unknown_names_only_describe() -> None:
    assert quantity("magic").better is None
    assert quantity("magic_3").heading == "magic_3"


@pytest.mark.parametrize(
    ("name", "value", "reference", "worse"),
    [("stft", 2.0, 1.5, 0.5), ("si_sdr", 2.0, 1.5, -0.5), ("shimmer_db", -3.0, 1.0, 2.0), ("usage", 1.0, 0.0, 0.0)],
)
def test_worsening_follows_the_direction(name: str, value: float, reference: float, worse: float) -> None:
    assert quantity(name).worsening(value, reference) == worse


def test_headings_show_unit_and_direction() -> None:
    headings = [quantity(name).heading for name in ("stft", "si_sdr", "shimmer_db", "usage", "rtf")]
    assert headings == ["stft (↓)", "si_sdr (dB ↑)", "shimmer_db (dB → 0)", "usage (share)", "rtf (× ↓)"]
