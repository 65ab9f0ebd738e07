from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest

from heartopt.training.records import entries, mean, number, numbers


@dataclass(frozen=True)
class Record:
    step: int
    kind: str = field(default="step", init=False)


def test_an_object_and_its_line_have_the_same_entries() -> None:
    assert entries(Record(3)) == {"step": 3, "kind": "step"} == entries({"step": 3, "kind": "step"})
    assert entries(MappingProxyType({"step": 3})) == {"step": 3}
    assert entries("step") == {}


@pytest.mark.parametrize("value", [None, "1", True, math.nan, math.inf, -math.inf, 10**400, [1.0]])
def test_what_is_no_finite_number_is_nan(value: object) -> None:
    assert math.isnan(number(value))


def test_means_and_numbers() -> None:
    assert number(2) == 2.0 and mean((1, 2.0)) == 1.5
    assert all(math.isnan(mean(values)) for values in ([], None, "12", [1, None], {"a": 1}))
    assert numbers({"a": 1, "b": "not installed", "c": None}) == {"a": 1.0}
    assert numbers(None) == {}
