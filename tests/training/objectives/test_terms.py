from __future__ import annotations

import pytest
import torch

from heartopt.errors import ConfigError
from heartopt.training.objectives import code_counts, weighted
from heartopt.training.objectives.terms import item_means


def test_terms_and_weights_must_match_by_name() -> None:
    terms = {"flow": torch.tensor(2.0), "commitment": torch.tensor(4.0)}
    assert weighted(terms, {"commitment": 0.25, "flow": 1.0}).item() == 3.0
    with pytest.raises(ConfigError, match="comitment"):
        weighted(terms, {"flow": 1.0, "comitment": 0.25})


def test_code_counts_pass_over_filling() -> None:
    codes = torch.tensor([[[0, 1, 1], [2, 2, 0]]])
    counts = code_counts(codes, torch.tensor([[True, True, False]]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 2]]


def test_an_items_mean_is_over_its_own_frames() -> None:
    values = torch.tensor([[1.0, 2.0, 6.0], [4.0, 100.0, 100.0]])
    real = torch.tensor([[True, True, True], [True, False, False]])
    assert item_means(values, real).tolist() == [3.0, 4.0]
