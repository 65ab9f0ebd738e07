"""What is said of a system over the whole suite at once: its codes counted together, and the Fréchet distance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from heartopt.evaluation.judging import OWN, SongResult
from heartopt.metrics import agreement, code_statistics
from heartopt.metrics.frechet import GaussianFit, frechet_distance


def corpus_statistics(
    results: Sequence[SongResult], systems: Sequence[str], codebook_size: int, against: str
) -> tuple[Mapping[str, Any], ...]:
    """One record for each system that was judged on any song: `{"system", code quantities…, "fad"}`.

    A system's sound, under all judge seeds, is held against the songs that it was judged on; its codes also against
    those of the system `against`, on the songs that both have.
    """
    records = []
    for system in systems:
        record: dict[str, Any] = {"system": system}
        if codes := [result.tokens[system] for result in results if system in result.tokens]:
            record |= code_statistics(codes, codebook_size).metrics()
            record |= {} if system == against else _agreement(results, system, against)
        if judged := [result for result in results if system in result.fits]:
            own, estimate = (_merged([result.fits[name] for result in judged]) for name in (OWN, system))
            record["fad"] = frechet_distance(estimate, own)
        if len(record) > 1:
            records.append(record)
    return tuple(records)


def _agreement(results: Sequence[SongResult], system: str, against: str) -> dict[str, float]:
    """The share of equal codes over all frames of all songs, mean over levels and level by level; {} where none are
    comparable."""
    both = [result.tokens for result in results if {system, against} <= set(result.tokens)]
    pairs = [(tokens[system], tokens[against]) for tokens in both]
    same = [(a, b) for a, b in pairs if a.shape == b.shape]
    if not same:
        return {}
    levels = agreement(*(torch.cat(codes, dim=1) for codes in zip(*same, strict=True)))
    found = {"agreement": math.fsum(levels) / len(levels)}
    return found | {f"agreement_{level}": share for level, share in enumerate(levels, 1)}


def _merged(fits: Sequence[GaussianFit]) -> GaussianFit:
    whole = GaussianFit()
    for fit in fits:
        whole.merge(fit)
    return whole
