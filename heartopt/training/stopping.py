"""What ends a run before it is done: its budget, or someone who asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from heartopt.errors import HeartoptError

#: What `Limits.reached` may say.
ENDINGS = ("", "budget", "stopped")


class StoppedEarly(HeartoptError):
    """A run ended before its first step, so that there is no projection. `ended`: "budget" or "stopped"."""

    def __init__(self, ended: str, message: str) -> None:
        super().__init__(message)
        self.ended = ended


@dataclass(frozen=True)
class Limits:
    """`deadline`: a `time.monotonic()` value; `stop`: says True once the run is to end. None is no limit."""

    deadline: float | None = None
    stop: Callable[[], bool] | None = None

    def reached(self) -> str:
        """Why the run is to end now: "budget", "stopped", or "" where it is not."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            return "budget"
        return "stopped" if self.stop is not None and self.stop() else ""
