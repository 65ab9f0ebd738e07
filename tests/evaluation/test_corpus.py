from __future__ import annotations

import pytest
import torch

from heartopt.evaluation.corpus import corpus_statistics
from heartopt.evaluation.judging import OWN, SongResult
from heartopt.metrics import code_statistics
from heartopt.metrics.frechet import GaussianFit, frechet_distance

DRAW = torch.Generator().manual_seed(0)


def fit(*parts: torch.Tensor) -> GaussianFit:
    found = GaussianFit()
    for part in parts:
        found.add(part)
    return found


def test_codes_are_counted_over_all_songs_at_once() -> None:
    first, second = (torch.randint(16, (2, frames), generator=DRAW) for frames in (9, 30))
    results = [SongResult(tokens={"a": first, "b": first}), SongResult(tokens={"a": second})]
    a, b = corpus_statistics(results, ("a", "b", "none"), 16, "none")
    assert a == {"system": "a", **code_statistics([first, second], 16).metrics()}
    assert b == {"system": "b", **code_statistics(first, 16).metrics()}


def test_codes_are_compared_with_those_of_the_system_that_all_are_held_against() -> None:
    first, second = (torch.randint(16, (2, frames), generator=DRAW) for frames in (10, 30))
    changed = first.clone()
    changed[1, :4] = (changed[1, :4] + 1) % 16
    results = [
        SongResult(tokens={"base": first, "a": changed, "b": first[:, :9]}),
        SongResult(tokens={"base": second, "a": second}),
        SongResult(tokens={"a": first}),
    ]
    base, a, b = corpus_statistics(results, ("base", "a", "b"), 16, "base")
    assert (a["agreement_1"], a["agreement_2"], a["agreement"]) == pytest.approx((1, 36 / 40, 38 / 40))
    assert "agreement" not in base and "agreement" not in b  # other lengths do not compare


def test_a_system_is_held_against_the_songs_that_it_was_judged_on() -> None:
    songs, sounds = ([torch.randn(40, 3, generator=DRAW) + shift for shift in (0, 5)] for _ in range(2))
    results = [
        SongResult(fits={OWN: fit(songs[0]), "a": fit(sounds[0]), "b": fit(sounds[0])}),
        SongResult(fits={OWN: fit(songs[1]), "a": fit(sounds[1])}),
    ]
    a, b = corpus_statistics(results, ("a", "b"), 16, "none")
    assert a["fad"] == pytest.approx(frechet_distance(fit(*sounds), fit(*songs)))
    assert b["fad"] == pytest.approx(frechet_distance(fit(sounds[0]), fit(songs[0])))
    assert results[0].fits[OWN].frames == 40  # merging leaves the parts alone


def test_nothing_gives_nothing() -> None:
    assert corpus_statistics([], ("a",), 16, "a") == () and corpus_statistics([SongResult()], ("a",), 16, "a") == ()
