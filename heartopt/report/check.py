"""Whether a report's files follow from its JSON rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heartopt.errors import HeartoptError
from heartopt.evaluation import Evaluation
from heartopt.report.figures import rows_of
from heartopt.report.markdown import WRITTEN_BY
from heartopt.report.pictures import SPECTROGRAMS, digest_of
from heartopt.report.write import linked, read_report, render_texts

_CLOSE = 1e-9  # between a sum on this machine and on the one that wrote it, relative


def unfaithful(path: Path) -> Iterator[str]:
    """A line for each file that does not follow from the rows in the JSON file `path`: which, and what to do.

    Texts must be equal. Figures in the JSON that follow from its rows must be equal but for rounding. A picture must
    have been drawn from these rows.

    Raises:
        HeartoptError: a file cannot be read, or is damaged.
    """
    evaluation = read_report(path)
    if evaluation is None:
        if WRITTEN_BY in _read(path.with_suffix(".md")):
            yield f"{path}: is no evaluation, but {path.with_suffix('.md').name} was written from one"
        return
    remedy = f"run `python -m heartopt.report {path}`"
    stored = json.loads(path.read_text(encoding="utf-8"))
    for key in ("summary", "differences"):
        if not _same(stored.get(key), evaluation.to_json()[key]):
            yield f"{path}: {key} in it does not follow from its rows; {remedy}"
    for file, text in render_texts(evaluation, path.parent, path.stem).items():
        if _read(file) != text:
            yield f"{file}: does not follow from the rows in {path}; {remedy}"
    yield from _pictures(evaluation, path, remedy)


def _pictures(evaluation: Evaluation, path: Path, remedy: str) -> Iterator[str]:
    digest = digest_of(evaluation)
    for name in linked(evaluation, path.stem):
        picture = path.with_name(name)
        if name == f"{path.stem}.{SPECTROGRAMS}.png":
            remedy = "they need the sounds: run `heartopt evaluate` with `--plots` again"
        if not picture.is_file():
            yield f"{picture}: is missing; {remedy}"
        elif rows_of(picture) != digest:
            yield f"{picture}: was drawn from other rows than those in {path}; {remedy}"


def _read(path: Path) -> str:
    """A text; "" where there is none."""
    try:
        return path.read_bytes().decode("utf-8") if path.is_file() else ""
    except (OSError, ValueError) as error:
        raise HeartoptError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _same(left: Any, right: Any) -> bool:
    """Whether two records of JSON types are equal, numbers but for rounding."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=_CLOSE, abs_tol=1e-12)
    return bool(left == right)
