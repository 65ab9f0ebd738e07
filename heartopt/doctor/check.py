"""What a check says, and how names and sizes are put into its words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from heartopt.errors import HeartoptError

Status = Literal["ok", "warning", "failed", "skipped"]
SHOWN = 3


@dataclass(frozen=True)
class Check:
    """One finding: `detail` is what was found, `remedy` what to do about it (empty where there is nothing to do).

    A warning stands for what training can live with; only "failed" stops it.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


class Examples:
    """Counts what it is given and remembers the first few, so that a long list costs no memory."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, text: str) -> None:
        self.count += 1
        if self.count <= SHOWN:
            self._first.append(text)

    def __str__(self) -> str:
        more = self.count - len(self._first)
        return "; ".join([*self._first, f"and {more} more"] if more else self._first)


def attempt(name: str, remedy: str, look: Callable[[], Check]) -> Check:
    """`look()`, or what stopped it as a failed check."""
    try:
        return look()
    except Exception as error:  # whatever stops a check is what the person came to hear
        return Check(name, "failed", reason(error), remedy)


def reason(error: Exception) -> str:
    """An error in one line: heartopt's own words, the system's, or another library's first line with its kind."""
    if isinstance(error, HeartoptError):
        return printable(" ".join(str(error).split()))
    if isinstance(error, OSError) and error.strerror:
        return printable(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    first = next(iter(str(error).strip().splitlines()), "")
    return printable(f"{type(error).__name__}: {first}" if first else type(error).__name__)


def printable(text: str) -> str:
    """`text` with what a terminal would obey (or could not show) as escapes: file names can hold anything."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def shown(path: Path, folder: Path | None = None) -> str:
    """A path in words, below `folder` where it lies there."""
    return printable(str(path.relative_to(folder) if folder and path.is_relative_to(folder) else path))


def in_bytes(count: float) -> str:
    """1.5e9 -> "1.5 GB", 4e6 -> "4 MB" (powers of ten, as disks are sold)."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def length(seconds: float) -> str:
    """7200 -> "2.00 h", 90 -> "1.5 min", 5 -> "5.0 s"."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"
