"""What is measured about audio and codes, one family a file, and how a pair of recordings is measured with it."""

from heartopt.metrics.codes import CodeStatistics, code_statistics
from heartopt.metrics.measuring import DEFAULT_METRICS, METRICS, Metric, average, check_metrics, measure
from heartopt.metrics.tiers import TIER_METRIC, TIERS, tier

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "TIERS",
    "TIER_METRIC",
    "CodeStatistics",
    "Metric",
    "average",
    "check_metrics",
    "code_statistics",
    "measure",
    "tier",
]
