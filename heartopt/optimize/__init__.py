"""Per-file refinement of tokens through the residual VQ."""

from heartopt.optimize.file import FileReport, optimize_file
from heartopt.optimize.settings import OptimizeSettings
from heartopt.optimize.song import OptimizeResult, Progress, optimize_source, optimize_steps, optimize_tokens

__all__ = [
    "FileReport",
    "OptimizeResult",
    "OptimizeSettings",
    "Progress",
    "optimize_file",
    "optimize_source",
    "optimize_steps",
    "optimize_tokens",
]
