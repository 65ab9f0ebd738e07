"""What is measured about audio and codes, one family a file, and how a pair of recordings is measured with it."""

from heartopt.metrics.codes import CodeStatistics, agreement, code_statistics
from heartopt.metrics.measuring import DEFAULT_METRICS, METRICS, average, check_metrics, measure
from heartopt.metrics.metric import Metric
from heartopt.metrics.pair import Reference
from heartopt.metrics.quantities import QUANTITIES, quantity
from heartopt.metrics.quantity import Quantity
from heartopt.metrics.tiers import TIER_METRIC, TIERS, tier

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "QUANTITIES",
    "TIERS",
    "TIER_METRIC",
    "CodeStatistics",
    "Metric",
    "Quantity",
    "Reference",
    "agreement",
    "average",
    "check_metrics",
    "code_statistics",
    "measure",
    "quantity",
    "tier",
]
