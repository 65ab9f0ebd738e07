"""What is said of a system over the whole suite at once: its codes counted together, and the Fréchet distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heartopt.evaluation.judging import OWN, SongResult
from heartopt.metrics import code_statistics
from heartopt.metrics.frechet import GaussianFit, frechet_distance


def corpus_statistics(
    results: Sequence[SongResult], systems: Sequence[str], codebook_size: int
) -> tuple[Mapping[str, Any], ...]:
    """One record for each system that was judged on any song: `{"system", code quantities…, "fad"}`.

    A system's sound, under all judge seeds, is held against the songs that it was judged on.
    """
    records = []
    for system in systems:
        record: dict[str, Any] = {"system": system}
        if codes := [result.tokens[system] for result in results if system in result.tokens]:
            record |= code_statistics(codes, codebook_size).metrics()
        if judged := [result for result in results if system in result.fits]:
            own, estimate = (_merged([result.fits[name] for result in judged]) for name in (OWN, system))
            record["fad"] = frechet_distance(estimate, own)
        if len(record) > 1:
            records.append(record)
    return tuple(records)


def _merged(fits: Sequence[GaussianFit]) -> GaussianFit:
    whole = GaussianFit()
    for fit in fits:
        whole.merge(fit)
    return whole
