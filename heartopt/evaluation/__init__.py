"""How good tokens are: metrics, tiers, controls, suites, and the runner that puts them together."""

from heartopt.evaluation.plan import JUDGE_SEEDS, Plan, Request, make_plan
from heartopt.evaluation.rendering import audio_of, original_of
from heartopt.evaluation.results import Difference, Evaluation, Failure, Summary
from heartopt.evaluation.runner import Progress, evaluate, run_plan
from heartopt.evaluation.suites import Song, Suite, load_suite
from heartopt.evaluation.systems import SYSTEMS, GivenSong, SystemSpec
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
    "GivenSong",
    "Plan",
    "Progress",
    "Request",
    "Song",
    "Suite",
    "Summary",
    "SystemSpec",
    "audio_of",
    "code_statistics",
    "evaluate",
    "load_suite",
    "make_plan",
    "measure",
    "original_of",
    "run_plan",
    "tier",
]
