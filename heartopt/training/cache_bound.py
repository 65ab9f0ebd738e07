"""The size of the cache: what has not been used for longest makes room for what comes.

The policy: entries count by the time they were last used, over all codecs in the folder. Before one is stored, the
oldest are deleted until it fits. What this run has found or stored is never deleted by it, nor what any process is
still writing. Of several processes, each
looks again after storing a twentieth of the bound, so that together they pass it by no more than that each.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from heartopt.errors import ConfigError, OutputError

#: Seconds after which an unfinished file is one that a killed process has left behind.
_ABANDONED = 3600.0


@dataclass(frozen=True)
class _Entry:
    used: int  # ns
    path: Path
    size: int

    @property
    def unfinished(self) -> bool:
        """Whether some process is still writing it (see `atomic_path`)."""
        return self.path.name.startswith(".")


class Bound:
    """Keeps the files below `root` within `max_bytes`; None is no bound. Can be used from several threads."""

    def __init__(self, root: Path, max_bytes: int | None) -> None:
        if max_bytes is not None and max_bytes < 1:
            raise ConfigError(f"a cache needs some size; got {max_bytes} bytes (--cache-size)")
        self.root, self.max_bytes = root, max_bytes
        self._mine: set[Path] = set()
        self._credit: int | None = None  # bytes that may be stored before looking again
        self._lock = threading.Lock()

    def protect(self, path: Path) -> None:
        """Never delete `path`: this run uses it. Called before it is opened, so that it does not vanish between."""
        with self._lock:
            self._mine.add(path)

    def make_room(self, size: int) -> None:
        """Make room for an entry of `size` bytes.

        Raises:
            OutputError: it does not fit beside what this run uses.
        """
        with self._lock:
            first = self._credit is None
            if self.max_bytes is None:
                if first:  # also without a bound, nothing that is abandoned stays
                    for _ in self._entries():
                        pass
                self._credit = 0
                return
            if self._credit is None or size > self._credit:
                free = self._evict(size, self.max_bytes)
                self._credit = min(free, max(size, self.max_bytes // 20))
            self._credit -= size

    def _evict(self, size: int, limit: int) -> int:
        """Delete the oldest entries until `size` bytes are free; returns the free bytes."""
        entries = sorted(self._entries(), key=lambda entry: (entry.used, entry.path.name))
        total = sum(entry.size for entry in entries)
        if total + size > limit:
            for entry in entries:
                if entry.path in self._mine or entry.unfinished:
                    continue
                with suppress(OSError):  # somebody else's, or just deleted
                    entry.path.unlink()
                    total -= entry.size
                if total + size <= limit:
                    break
        if total + size > limit:
            used = sum(entry.size for entry in entries if entry.path in self._mine)
            need = math.ceil((total + size) / 1e7) / 100  # rounded up: what is named is enough
            raise OutputError(
                f"{self.root}: the cache is full: this run already uses {used / 1e9:.3g} of {limit / 1e9:.3g} GB, and "
                f"the next entry takes {size / 1e9:.3g} GB; give a larger --cache-size (in GB), at least {need:.2f}"
            )
        return limit - total

    def _entries(self) -> Iterator[_Entry]:
        """All files below `root`; unfinished ones that a killed process has left are deleted."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                try:
                    stat = path.stat()
                    entry = _Entry(stat.st_mtime_ns, path, stat.st_size)
                    if entry.unfinished and time.time() - stat.st_mtime > _ABANDONED:
                        path.unlink()
                        continue
                except OSError:
                    continue  # renamed or deleted meanwhile
                yield entry
