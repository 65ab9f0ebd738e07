"""What is done of a song, on disk after every window, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from heartopt.errors import OutputError
from heartopt.files import atomic_path


@dataclass(frozen=True)
class WindowReport:
    """Mean STFT loss of the start and of the best other candidate under the selection seeds; which of them is kept."""

    start: float
    result: float
    improved: bool


@dataclass(frozen=True)
class WindowCurve:
    """The objective and the loss of each of a window's steps; NaN where one was skipped."""

    objective: tuple[str, ...]
    loss: tuple[float, ...]


@dataclass(frozen=True)
class Done:
    """A song after some of its windows.

    ``codes`` ``[K, F]``: kept so far, the start's behind the last window. ``past`` ``[S, P, C]``: the end of the last
    window's latents under each selection seed. ``steps``: of a window, as a budget may have set them.
    """

    codes: Tensor
    past: Tensor
    steps: int
    windows: tuple[WindowReport, ...]
    curves: tuple[WindowCurve, ...]
    notes: tuple[str, ...]


class Journal:
    """One song's file. ``key`` says what the work depends on: with another key, the file counts as nothing."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key

    def read(self) -> Done | None:
        """What was done; None where there is nothing, or nothing of use."""
        try:
            with safe_open(self.path, framework="pt") as file:
                record = json.loads(file.metadata()["done"])
                codes, past = file.get_tensor("codes"), file.get_tensor("past")
                if record["key"] != self.key or record["checksum"] != _checksum(codes, past):
                    return None
                return Done(
                    codes=codes.long(),
                    past=past,
                    steps=record["steps"],
                    windows=tuple(WindowReport(**window) for window in record["windows"]),
                    curves=tuple(WindowCurve(tuple(c["objective"]), tuple(c["loss"])) for c in record["curves"]),
                    notes=tuple(record["notes"]),
                )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None

    def write(self, done: Done) -> None:
        """Replace the file. Raises OutputError."""
        codes = done.codes.to("cpu", torch.int32)  # half the bytes: a long song is written hundreds of times
        tensors = {"codes": codes.contiguous(), "past": done.past.cpu().contiguous()}
        record = {
            "key": self.key,
            "checksum": _checksum(**tensors),
            "steps": done.steps,
            "windows": [asdict(window) for window in done.windows],
            "curves": [asdict(curve) for curve in done.curves],
            "notes": done.notes,
        }
        with atomic_path(self.path) as temporary:
            try:
                save_file(tensors, temporary, metadata={"done": json.dumps(record)})
            except SafetensorError as error:  # which it makes of a full disk too
                raise OutputError(f"cannot write {self.path}: {error}") from error

    def remove(self) -> None:
        """The song is finished."""
        self.path.unlink(missing_ok=True)


def _checksum(codes: Tensor, past: Tensor) -> str:
    """Of both tensors' bytes: going on from damaged ones would give a song of nobody's."""
    return hashlib.sha256(codes.numpy().tobytes() + past.numpy().tobytes()).hexdigest()
