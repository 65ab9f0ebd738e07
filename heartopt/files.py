"""Files that appear whole or not at all: written aside, flushed to the disk, then renamed."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from heartopt.errors import HeartoptError, OutputError

_CHUNK_BYTES = 1 << 20
_NAME_TAIL = 60  # characters of the final name that the temporary one ends with: all suffixes, bounded length


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _flush_to_disk(path: Path, flags: int = os.O_RDONLY) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _usual_mode(path: Path) -> int:
    """The permissions that a new file gets at ``path``, where none is: the umask's, or the folder's own rules."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        os.unlink(path)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path``, which becomes ``path`` when the block ends without an error.

    The temporary name is hidden and ends with the same suffixes, so that writers which choose a format by
    suffix choose the same one. Missing parent folders are made. The file gets the permissions of any new file,
    whatever its writer gave it (some give theirs to the owner alone). If the block raises, the temporary file is
    removed and whatever was at ``path`` before stays as it was.

    Raises:
        OutputError: the folder cannot be made, or writing, flushing or renaming fails (any ``OSError``, also
            one raised inside the block).
    """
    final = Path(path)
    temporary = final.parent / f".{secrets.token_hex(6)}.{final.name[-_NAME_TAIL:]}"
    try:
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            mode = _usual_mode(temporary)
            yield temporary
            if stat.S_IMODE(temporary.stat().st_mode) != mode:
                with suppress(OSError):  # not every file system has permissions
                    temporary.chmod(mode)
            _flush_to_disk(temporary)
            os.replace(temporary, final)
        except OSError as error:
            raise OutputError(f"cannot write {final}: {_reason(error)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    with suppress(OSError):  # the rename itself; not every file system lets a folder be flushed
        _flush_to_disk(final.parent)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove temporary files of `atomic_path` for ``path`` that a killed process left behind.

    Only for paths that no other process writes now.
    """
    final = Path(path)
    pattern = f".{'[0-9a-f]' * 12}.{glob.escape(final.name[-_NAME_TAIL:])}"
    for temporary in final.parent.glob(pattern):
        with suppress(OSError):
            temporary.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, atomically; bytes of a file name that are no characters as ``\\udcXX``, as JSON has it.

    Raises OutputError.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write ``obj`` as JSON (two spaces, keys in their order, a newline at the end), atomically.

    JSON has no NaN and no infinity: such numbers are written as ``null``. Paths are written as strings, NumPy
    and torch scalars as numbers. Raises OutputError; TypeError for what JSON cannot hold.
    """
    write_text(path, json.dumps(plain(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain(obj: Any) -> Any:
    """``obj`` in JSON's own types, with NaN and infinities as None."""
    if isinstance(obj, Mapping):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [plain(value) for value in obj]
    if isinstance(obj, os.PathLike):
        return os.fspath(obj)
    if isinstance(obj, float):
        return float(obj) if math.isfinite(obj) else None
    if not isinstance(obj, (str, int)) and hasattr(obj, "item"):
        return plain(obj.item())
    return obj


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, in hex; read in pieces. Raises HeartoptError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise HeartoptError(f"cannot read {os.fspath(path)}: {_reason(error)}") from error
    return digest.hexdigest()
