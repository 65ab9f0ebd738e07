"""A run's records as TensorBoard event files, where the package `tensorboard` is installed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from heartopt.training.records import entries, mean, number, numbers
from heartopt.training.watch import EVERY

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_log = logging.getLogger(__name__)  # below the logger that `training.log` is written from

FOLDER = "tensorboard"


class Board:
    """Writes records to `folder/tensorboard`; a context manager that closes the file.

    It is an aid: where the package is missing or the files cannot be written, it says so in the log once, and does
    nothing more.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        """`step`: steps done so far. TensorBoard hides what an earlier process wrote of later ones, and all that an
        earlier run left where none are done.
        """
        self._writer: SummaryWriter | None = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except (ImportError, AttributeError, TypeError) as error:  # the latter two: of a protobuf that it does not fit
            reason = " ".join(str(error).split())
            _log.info("no TensorBoard files: %s; pip install 'heartopt[watch]' for them", reason)
            return
        try:
            self._writer = SummaryWriter(str(folder / FOLDER), purge_step=step + 1 if step else 0)
        except OSError as error:
            self._give_up(error)

    def __enter__(self) -> Board:
        self._hook = threading.excepthook
        threading.excepthook = self._quiet_hook
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            try:
                self._writer.close()
            except (OSError, ValueError) as failure:  # ValueError: a file that an earlier failure closed
                self._give_up(failure)
        threading.excepthook = self._hook

    def write(self, record: object) -> None:
        """Write the numbers of `record`, a step, a validation or decoded clips, where it is due."""
        found = entries(record)
        if self._writer is None or not _due(found):
            return
        try:
            for name, value in scalars(found):
                self._writer.add_scalar(name, value, found["step"])
            if found["kind"] != "step":
                self._writer.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _quiet_hook(self, failure: threading.ExceptHookArgs) -> None:
        """The package's own thread gives its errors to the next `write` too: no need to print where they came from."""
        if not type(failure.thread).__module__.startswith("tensorboard."):
            self._hook(failure)

    def _give_up(self, error: Exception) -> None:
        _log.warning("no more TensorBoard files: %s", getattr(error, "strerror", None) or error)
        self._writer = None


def _due(record: Mapping[str, Any]) -> bool:
    """Whether it is written: of the steps, those that `metrics.jsonl` has too."""
    step = record.get("step")
    if not isinstance(step, int) or record.get("kind") != "step":
        return isinstance(step, int)
    return step % EVERY == 0 or step in (1, record.get("steps")) or bool(record.get("skipped"))


def scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The finite numbers of a record under TensorBoard's names: before the slash, the section that shows them."""
    match record.get("kind"):
        case "step":
            yield from _finite("train", record, ("loss", "learning_rate", "gradient_norm", "epoch"))
            yield from _prefixed("terms", record.get("terms"))
            yield from _levels("usage_in_a_batch", record.get("usage"))
            yield "train/skipped", float(bool(record.get("skipped")))
            seconds, audio = number(record.get("seconds")), number(record.get("audio_seconds"))
            if seconds > 0 and audio >= 0:
                yield "train/audio_seconds_per_second", audio / seconds
        case "validation":
            yield from _finite("held_out", record, ("flow", "commitment"))
            yield from _levels("held_out_usage", record.get("usage"))
            yield from _levels("held_out_perplexity", record.get("perplexity"))
        case "clips":
            yield from _prefixed("clips", record.get("metrics"))
            yield from _prefixed("clips_deshimmered", record.get("deshimmered"))
            for clip in record.get("clips") or ():
                yield from _prefixed(f"clip_{clip.get('clip')}", clip)


def _finite(section: str, record: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    yield from _prefixed(section, {name: record.get(name) for name in names})


def _prefixed(section: str, values: object) -> Iterator[tuple[str, float]]:
    for name, value in numbers(values).items():
        yield f"{section}/{name}", value


def _levels(section: str, values: object) -> Iterator[tuple[str, float]]:
    """A value for each codebook, and their mean."""
    yield from _prefixed(section, {"mean": mean(values)})
    if isinstance(values, (list, tuple)):
        yield from _prefixed(section, {f"level_{level}": value for level, value in enumerate(values, 1)})
