"""How good tokens are: metrics, tiers, controls, suites, and the runner that puts them together."""

from heartopt.evaluation.results import Difference, Evaluation, Failure, Summary
from heartopt.evaluation.runner import JUDGE_SEEDS, Progress, evaluate
from heartopt.evaluation.suites import Song, Suite, load_suite
from heartopt.evaluation.systems import SYSTEMS
from heartopt.metrics import METRICS, TIERS, CodeStatistics, code_statistics, measure, tier

__all__ = [
    "JUDGE_SEEDS",
    "METRICS",
    "SYSTEMS",
    "TIERS",
    "CodeStatistics",
    "Difference",
    "Evaluation",
    "Failure",
    "Progress",
    "Song",
    "Suite",
    "Summary",
    "code_statistics",
    "evaluate",
    "load_suite",
    "measure",
    "tier",
]
