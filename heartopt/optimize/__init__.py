"""Per-file refinement of tokens through the residual VQ."""

from heartopt.optimize.file import Excerpt, FileReport, optimize_file
from heartopt.optimize.journal import WindowCurve
from heartopt.optimize.settings import PRESETS, FlowSettings, OdeSettings, OptimizeSettings
from heartopt.optimize.song import OptimizeResult, Progress, optimize_source, optimize_steps, optimize_tokens

__all__ = [
    "PRESETS",
    "Excerpt",
    "FileReport",
    "FlowSettings",
    "OdeSettings",
    "OptimizeResult",
    "OptimizeSettings",
    "Progress",
    "WindowCurve",
    "optimize_file",
    "optimize_source",
    "optimize_steps",
    "optimize_tokens",
]
