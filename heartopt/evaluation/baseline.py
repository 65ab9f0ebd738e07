"""The stored run that later runs are held against: its rows, and what makes another run comparable with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heartopt.errors import ConfigError, HeartoptError
from heartopt.evaluation.results import Evaluation, Row
from heartopt.evaluation.systems import CONTROLS
from heartopt.files import write_json

FORMAT = 1
_LONG = 40  # characters from which on a value is a hash
#: What makes a song the same song: its name, its file's content, and which part of it is judged.
_SONG_KEYS = ("file", "sha256", "start", "seconds")
_KEYS: Mapping[str, type] = {
    "format": int,
    "suite": str,
    "songs": list,
    "codec": str,
    "fingerprint": str,
    "decoding": dict,
    "judge_seeds": list,
    "heartopt": str,
    "tolerances": dict,
    "rows": list,
}


@dataclass(frozen=True)
class Baseline:
    """A stored run.

    Attributes:
        path: the file, for messages.
        suite, songs: the suite's name and its songs `{"file", "sha256", "start", "seconds"}`, as far as known.
        codec, fingerprint: the codec's name, and the SHA-256 of its weights.
        decoding: window, Euler steps and guidance that tokens were decoded with.
        rows: one a file and system, as in `Evaluation.rows`; controls are left out, for nobody guards them.
        judge_seeds, heartopt: under which noise and by which version, for the record: others are comparable.
        tolerances: those of this baseline, metric -> tolerance, in place of the registry's; infinity: never gates.
    """

    path: Path
    suite: str
    songs: tuple[Mapping[str, Any], ...]
    codec: str
    fingerprint: str
    decoding: Mapping[str, Any]
    rows: tuple[Row, ...]
    judge_seeds: tuple[int, ...] = ()
    heartopt: str = ""
    tolerances: Mapping[str, float] = field(default_factory=dict)

    @property
    def systems(self) -> tuple[str, ...]:
        """Systems with a row, in their order."""
        return tuple(dict.fromkeys(row["system"] for row in self.rows))

    def check_setup(self, *, suite: str, codec: str, fingerprint: str, decoding: Mapping[str, Any]) -> None:
        """Refuse a run of another suite, codec or decoding: what is known before anything is judged.

        Raises:
            ConfigError: in one line, what differs.
        """
        if suite != self.suite:
            raise self._refuse(f"is of the suite {self.suite}, and this run is of {suite}")
        if fingerprint != self.fingerprint:
            names = f"{self.codec} ({self.fingerprint[:12]}), and this run has {codec} ({fingerprint[:12]})"
            raise self._refuse(f"is of the codec {names}")
        for key in dict.fromkeys([*self.decoding, *decoding]):
            then, now = self.decoding.get(key), decoding.get(key)
            if then != now:
                raise self._refuse(f"was decoded with {key} {then}, and this run with {now}")

    def check(self, evaluation: Evaluation) -> None:
        """Refuse an evaluation that cannot be held against this baseline: `check_setup`, and the songs themselves.

        Judge seeds, projections, settings of the optimizer and versions may differ: they are what is being judged.

        Raises:
            ConfigError: in one line, what differs.
        """
        settings = evaluation.settings
        self.check_setup(
            suite=evaluation.suite,
            codec=str(settings.get("codec")),
            fingerprint=str(settings.get("fingerprint")),
            decoding=settings.get("decoding") or {},
        )
        unread = {entry.file for entry in evaluation.failed if entry.system is None}
        ours = {song["file"]: song for song in self.songs}
        theirs = {song["file"]: song for song in evaluation.songs}
        for file in dict.fromkeys([*ours, *theirs]):
            if file not in ours:
                raise self._refuse(f"has no song {file}, which this run has")
            if file in unread:  # its rows are missing, which the gate tells
                continue
            if file not in theirs:
                raise self._refuse(f"has a song {file}, which this run lacks")
            for key in _SONG_KEYS:
                then, now = ours[file].get(key), theirs[file].get(key)
                if then != now and None not in (then, now):
                    raise self._refuse(f"is of another {file}: {key} was {_short(then)} and is {_short(now)}")

    def _refuse(self, what: str) -> ConfigError:
        return ConfigError(f"baseline {self.path}: {what}; give the baseline of this run, or make it anew")


def read_baseline(path: str | Path) -> Baseline:
    """Read what `write_baseline` wrote.

    Raises:
        HeartoptError: no such file, or no baseline, or a damaged one: in one line, what is wrong with it.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HeartoptError(f"baseline {path}: is not there; make it with --update-baseline") from error
    except OSError as error:
        raise HeartoptError(f"baseline {path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8
        raise HeartoptError(f"baseline {path}: is damaged (no JSON); make it anew with --update-baseline") from error
    if flaw := _flaw(record):
        raise HeartoptError(f"baseline {path}: {flaw}; make it anew with --update-baseline")
    return Baseline(
        path=path,
        suite=record["suite"],
        songs=tuple(record["songs"]),
        codec=record["codec"],
        fingerprint=record["fingerprint"],
        decoding=record["decoding"],
        rows=tuple(record["rows"]),
        judge_seeds=tuple(record["judge_seeds"]),
        heartopt=record["heartopt"],
        tolerances={name: math.inf if value is None else float(value) for name, value in record["tolerances"].items()},
    )


def write_baseline(
    evaluation: Evaluation, path: str | Path, tolerances: Mapping[str, float] | None = None
) -> Baseline:
    """Store an evaluation as the baseline of later ones, atomically; the same evaluation gives the same bytes.

    Args:
        tolerances: metric -> tolerance, in place of the registry's; None: those of the baseline that is at `path`
            now, if there is one of this suite. Infinity: the metric never gates.

    Raises:
        HeartoptError: nothing was judged, or something failed: later runs could fail the same way unnoticed.
        OutputError: `path` cannot be written.
    """
    path = Path(path)
    rows = [dict(row) for row in evaluation.rows if not is_control(row)]
    if evaluation.failed:
        first = evaluation.failed[0]
        what = f"{len(evaluation.failed)} failed, such as {first.file} ({first.system or 'the song'}): {first.error}"
        raise HeartoptError(f"baseline {path}: not written, for {what}")
    if not rows:
        raise HeartoptError(f"baseline {path}: not written, for no system but controls was judged")
    settings = evaluation.settings
    kept = _kept_tolerances(path, evaluation.suite) if tolerances is None else tolerances
    record = {
        "format": FORMAT,
        "suite": evaluation.suite,
        "songs": [{key: song[key] for key in _SONG_KEYS if key in song} for song in evaluation.songs],
        "codec": settings["codec"],
        "fingerprint": settings["fingerprint"],
        "decoding": settings["decoding"],
        "judge_seeds": settings["judge_seeds"],
        "heartopt": settings["heartopt"],
        "tolerances": dict(sorted(kept.items())),
        "rows": rows,
    }
    write_json(path, record)
    return read_baseline(path)


def is_control(row: Row) -> bool:
    """Whether a row is a control's."""
    return row["system"] in CONTROLS


def _kept_tolerances(path: Path, suite: str) -> Mapping[str, float]:
    try:
        before = read_baseline(path)
    except HeartoptError:  # none yet, or a damaged one, which is being replaced
        return {}
    return before.tolerances if before.suite == suite else {}


def _flaw(record: Any) -> str:
    """What keeps a record from being a baseline; "" if nothing does."""
    if not isinstance(record, dict) or "format" not in record:
        return "is no baseline"
    if record["format"] != FORMAT:
        return f"has format {record['format']}, and this version reads {FORMAT}"
    for key, kind in _KEYS.items():
        if not isinstance(record.get(key), kind):
            return f"is damaged ({key} is missing or of the wrong type)"
    for name, keys in (("rows", ("file", "system")), ("songs", ("file",))):
        for entry in record[name]:
            if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in keys):
                return f"is damaged (an entry of {name} lacks {' or '.join(keys)})"
    if not record["rows"]:
        return "is damaged (it has no rows)"
    for name, value in record["tolerances"].items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and value >= 0):
            return f"has a tolerance of {name} that is neither a number from 0 up nor null (never gates)"
    return ""


def _short(value: Any) -> str:
    """A value as text; of a hash, the beginning."""
    return f"{value[:12]}…" if isinstance(value, str) and len(value) > _LONG else str(value)
