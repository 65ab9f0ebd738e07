"""heartopt: make, refine and judge HeartCodec music tokens.

The public names load on first use: `import heartopt` alone imports neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from heartopt.errors import HeartoptError
from heartopt.version import __version__

if TYPE_CHECKING:
    from heartopt.codec import HeartCodec, HeartCodecConfig
    from heartopt.evaluation import evaluate
    from heartopt.optimize import optimize_tokens
    from heartopt.projection import EncoderProjection, encode_with_projection

__all__ = [
    "EncoderProjection",
    "HeartCodec",
    "HeartCodecConfig",
    "HeartoptError",
    "__version__",
    "encode_with_projection",
    "evaluate",
    "optimize_tokens",
]

_HOMES = {
    "EncoderProjection": "heartopt.projection",
    "HeartCodec": "heartopt.codec",
    "HeartCodecConfig": "heartopt.codec",
    "encode_with_projection": "heartopt.projection",
    "evaluate": "heartopt.evaluation",
    "optimize_tokens": "heartopt.optimize",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name on its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'heartopt' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Every public name, loaded or not."""
    return sorted(__all__)
