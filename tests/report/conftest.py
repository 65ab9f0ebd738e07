"""An evaluation with every kind of value, none of it computed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from heartopt.evaluation import Evaluation, Failure
from heartopt.evaluation.results import differences, summarize


def row(file: str, system: str, stft: float, tier: str, **values: Any) -> dict[str, Any]:
    fixed = {"pesq_wb": "not installed", "si_sdr": math.nan, "seconds": 8.0, "wall_seconds": 4.0, "rtf": 0.5}
    return {"file": file, "system": system, "stft": stft, "tier": tier, **fixed, **values}


def codes(share: float) -> dict[str, float]:
    return {"usage": share, "perplexity": 20.0, "usage_1": share, "perplexity_1": 20.0}


RATES = {"projection": 1.3, "optimized": 1.3, "silence": math.nan}


@pytest.fixture
def evaluation() -> Evaluation:
    hostile = "<img onerror=alert(1)>|[red]x.wav"
    rows = (
        row("a.wav", "silence", 5.5, "Poor"),
        row("a.wav", "projection", 2.5, "Fair", **codes(0.25)),
        row("a.wav", "optimized", 1.5, "Good", **codes(0.5)),
        row(hostile, "silence", 6.5, "Poor"),
        row(hostile, "projection", 2.7, "Fair", **codes(0.25)),
        row(hostile, "optimized", 1.9, "Good", **codes(0.5)),
    )
    failed = (Failure("c.wav", "optimized", "c.wav: truncated"), Failure("d.wav", None, "d.wav: empty"))
    settings = {"codec": "mini", "judge_seeds": [101, 102], "projection": None, "seed": 0}
    corpus = (
        {"system": "silence", "fad": 9.5},
        {"system": "projection", **codes(0.5), "entropy": 3.0, "dead": 4.0, "bitrate": 300.0, "fad": 0.25},
        {"system": "optimized", **codes(0.75), "entropy": 4.0, "dead": 2.0, "bitrate": 400.0, "fad": 0.125},
    )
    return Evaluation("own", rows, summarize(rows, seed=0), differences(rows, seed=0), failed, settings, corpus)


@pytest.fixture
def rated(evaluation: Evaluation) -> Evaluation:
    """The evaluation with bitrates, and one of MP3."""
    rows = tuple({**row, "kbps": RATES[row["system"]]} for row in evaluation.rows)
    own = [row for row in rows if row["system"] == "projection"]
    rows += tuple({**row, "system": "mp3:32", "kbps": 32.0, "stft": row["stft"] / 2} for row in own)
    return replace(evaluation, rows=rows, summary=summarize(rows, seed=0))
