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
    a, b = corpus_statistics(results, ("a", "b", "none"), 16)
    assert a == {"system": "a", **code_statistics([first, second], 16).metrics()}
    assert b == {"system": "b", **code_statistics(first, 16).metrics()}


def test_a_system_is_held_against_the_songs_that_it_was_judged_on() -> None:
    songs, sounds = ([torch.randn(40, 3, generator=DRAW) + shift for shift in (0, 5)] for _ in range(2))
    results = [
        SongResult(fits={OWN: fit(songs[0]), "a": fit(sounds[0]), "b": fit(sounds[0])}),
        SongResult(fits={OWN: fit(songs[1]), "a": fit(sounds[1])}),
    ]
    a, b = corpus_statistics(results, ("a", "b"), 16)
    assert a["fad"] == pytest.approx(frechet_distance(fit(*sounds), fit(*songs)))
    assert b["fad"] == pytest.approx(frechet_distance(fit(sounds[0]), fit(songs[0])))
    assert results[0].fits[OWN].frames == 40  # merging leaves the parts alone


def test_nothing_gives_nothing() -> None:
    assert corpus_statistics([], ("a",), 16) == () and corpus_statistics([SongResult()], ("a",), 16) == ()
