"""Which code a kept result was made by: a change of it makes the result again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

import heartopt
from heartopt.version import __version__

# Nothing in these changes what a system gives or what is measured of it.
_NEVER = ("cli", "doctor", "report")
# Of this package, what makes outputs; the rest of it measures, sums up and keeps.
_MAKES_OUTPUTS = ("systems", "controls.py", "fitting.py", "lossy.py", "oracle.py", "suites.py")
_LIBRARIES = {
    "outputs": ("av", "numpy", "torch", "torchaudio", "vector-quantize-pytorch"),
    "measured": (
        *("av", "numpy", "torch", "torchaudio"),
        *("auraloss", "pesq", "pyloudnorm", "pystoi", "scipy", "visqol-python"),
    ),
}


@cache
def outputs_version() -> str:
    """The code that tokens and audio are made by: all but metrics, statistics, reports and commands."""
    return _digest("outputs", (path for path in _sources() if _makes_outputs(path)))


@cache
def measured_version() -> str:
    """The code that outputs are decoded and measured by: all but training, refinement, reports and commands."""
    return _digest("measured", (path for path in _sources() if path[0] not in (*_NEVER, "optimize", "training")))


def _makes_outputs(path: tuple[str, ...]) -> bool:
    if path[0] == "evaluation":
        return path[1] in _MAKES_OUTPUTS
    return path[0] not in (*_NEVER, "metrics")


def _folder() -> Path:
    return Path(heartopt.__file__).parent


def _sources() -> list[tuple[str, ...]]:
    """The package's source files, as the parts of their paths."""
    return sorted(path.relative_to(_folder()).parts for path in _folder().rglob("*.py"))


def _digest(kind: str, sources: Iterable[tuple[str, ...]]) -> str:
    digest = hashlib.sha256(__version__.encode())
    for library in _LIBRARIES[kind]:
        digest.update(f"{library} {_installed(library)}\n".encode())
    for parts in sources:
        digest.update("/".join(parts).encode())
        digest.update(_folder().joinpath(*parts).read_bytes())
    return digest.hexdigest()


def _installed(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""
