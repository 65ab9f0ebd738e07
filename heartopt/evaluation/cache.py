"""What evaluations keep: outputs, what was measured of them, and embeddings, by what each depends on.

An entry is a JSON file and, where it has an array, a `.npy` beside it, under the SHA-256 of its key. Each appears
atomically, and holds a checksum: an entry that is damaged, or was written half by one process and half by another,
is none, and is made again. So any number of processes may share a folder, a run that was killed goes on where it was,
and deleting any of it is safe. Nothing is ever evicted: a song's tokens take 6 kB a minute and codebook.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heartopt.errors import OutputError
from heartopt.files import atomic_path, plain, write_text
from heartopt.npy import read_npy
from heartopt.training.cache import default_cache

Array = npt.NDArray[Any]

_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """`evaluation` in heartopt's cache folder: `$HEARTOPT_CACHE`, `$XDG_CACHE_HOME/heartopt` or `~/.cache/heartopt`."""
    return default_cache() / "evaluation"


@dataclass(frozen=True)
class Entry:
    """A kept record (JSON types; NaN comes back as None) and its array."""

    record: dict[str, Any]
    array: Array | None = None


class Store:
    """Entries below a folder; None keeps nothing.

    Where the folder cannot be written, a warning is given once, and nothing more is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._failed = False

    def find(self, kind: str, key: Mapping[str, Any]) -> Entry | None:
        """The entry, None where there is none or it is damaged."""
        if self.folder is None:
            return None
        path = _path(self.folder, kind, key)
        try:
            written = json.loads(path.read_text(encoding="utf-8"))
            body = written["body"]
            if written["check"] != _digest(body) or body["key"] != plain(key):
                return None
            if body["array"] is None:
                return Entry(body["record"])
            array = read_npy(path.with_suffix(".npy"))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return Entry(body["record"], array) if _array_digest(array) == body["array"] else None

    def keep(self, kind: str, key: Mapping[str, Any], record: Mapping[str, Any], array: Array | None = None) -> None:
        """Write an entry, in place of one that may be there."""
        if self.folder is None or self._failed:
            return
        path = _path(self.folder, kind, key)
        checked = None if array is None else _array_digest(array)
        body = {"key": plain(key), "record": plain(record), "array": checked}
        try:
            if array is not None:
                with atomic_path(path.with_suffix(".npy")) as temporary, open(temporary, "wb") as file:
                    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
            write_text(path, json.dumps({"check": _digest(body), "body": body}, allow_nan=False) + "\n")
        except OutputError as error:
            self._failed = True
            _log.warning("nothing more is kept for later runs: %s", error)


def number(value: Any) -> float:
    """A kept number; None is NaN."""
    return math.nan if value is None else float(value)


def _path(folder: Path, kind: str, key: Mapping[str, Any]) -> Path:
    name = _digest(plain(key))
    return folder / kind / name[:2] / f"{name}.json"


def _digest(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _array_digest(array: Array) -> str:
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()
