"""Songs judged by several processes, each with a codec of its own; results are the same as by one."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError, HeartoptError
from heartopt.evaluation.judging import SongResult, judge_song
from heartopt.evaluation.plan import Plan, Request, make_plan

_PATIENCE = 5.0  # seconds that a process is given to end by itself


@dataclass(frozen=True)
class _CodecSource:
    """How another process gets the codec."""

    folder: Path
    name: str
    duration: float
    dtype: torch.dtype
    device: str

    @classmethod
    def of(cls, codec: HeartCodec) -> _CodecSource:
        if codec.folder is None:
            raise ConfigError("a codec that was not loaded from files cannot go to other processes: use --jobs 1")
        device, dtype = str(codec.flow_matching.codebooks.device), codec.config.dtype
        assert isinstance(dtype, torch.dtype)
        return cls(codec.folder, codec.name, codec.default_duration, dtype, device)

    def load(self) -> HeartCodec:
        codec = HeartCodec.from_pretrained(self.folder, dtype=self.dtype, device=self.device)
        codec.name, codec.default_duration = self.name, self.duration
        return codec


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Any  # a multiprocessing Connection
    song: int | None = None


def judge_songs(plan: Plan, jobs: int, tell: Callable[[int, str], None]) -> Iterator[tuple[int, SongResult]]:
    """Judge every song in `jobs` processes; yields (song's number, result) as they come, in any order.

    `tell` is called with a song's number and a system's name before its turn. Leaving the iterator, by an error or
    Ctrl-C too, ends the processes.

    Raises:
        HeartoptError: a process died, such as for want of memory; what was finished is in the cache.
        ConfigError: the codec cannot be loaded by another process.
    """
    songs = iter(range(len(plan.suite.songs)))
    workers = _start(plan, min(jobs, len(plan.suite.songs)))
    try:
        while workers:
            for pipe in connection.wait([worker.pipe for worker in workers]):
                worker = next(entry for entry in workers if entry.pipe is pipe)
                kind, *rest = _received(worker, plan)
                if kind == "begin":
                    tell(*rest)
                elif kind == "error":
                    raise HeartoptError(rest[0])
                elif kind == "crash":
                    raise RuntimeError(f"in a process of its own:\n{rest[0]}")
                else:
                    if kind == "done":
                        yield rest[0], rest[1]
                    worker.song = next(songs, None)
                    worker.pipe.send(worker.song)
                    if worker.song is None:
                        workers.remove(worker)
                        _join(worker)
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            _join(worker)


def _start(plan: Plan, jobs: int) -> list[_Worker]:
    context, source = get_context("spawn"), _CodecSource.of(plan.setup.codec)
    request = pickle.dumps(replace(plan.request, codec=None))  # type: ignore[arg-type]  # the process loads its own
    threads = max(1, torch.get_num_threads() // jobs)
    workers = []
    with _interrupts_ignored():  # which the processes inherit: Ctrl-C is for this one, which ends them
        for _ in range(jobs):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, request, source, threads))
            process.start()
            theirs.close()
            workers.append(_Worker(process, ours))
    return workers


def _received(worker: _Worker, plan: Plan) -> Any:
    try:
        return pickle.loads(worker.pipe.recv_bytes())
    except (EOFError, OSError):
        worker.process.join(_PATIENCE)
        at = "while it began" if worker.song is None else f"at {plan.suite.songs[worker.song].name}"
        code = worker.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        raise HeartoptError(
            f"a process that judged songs died {at} ({how}), perhaps out of memory; "
            "run it again with fewer --jobs: what is finished is not done again"
        ) from None


def _join(worker: _Worker) -> None:
    worker.process.join(_PATIENCE)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    worker.pipe.close()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # others cannot, and get no Ctrl-C
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(pipe: Any, request: bytes, source: _CodecSource, threads: int) -> None:
    """The process: songs by their numbers from the pipe, results into it, until there is None or nobody."""
    os.dup2(2, 1)  # standard output belongs to the first process' result
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())  # libraries keep quiet
    warn = logging.StreamHandler()
    warn.setFormatter(logging.Formatter("warning: %(message)s"))
    logging.getLogger("heartopt").addHandler(warn)
    torch.set_num_threads(threads)

    def send(*message: Any) -> None:
        pipe.send_bytes(pickle.dumps(message))

    with suppress(BrokenPipeError, ConnectionResetError, EOFError):  # the first process is gone
        try:
            given: Request = pickle.loads(request)
            plan = make_plan(replace(given, codec=source.load()))
            send("ready")
            while (index := pipe.recv()) is not None:
                song: int = index
                send("done", song, judge_song(plan, song, lambda system: send("begin", song, system)))  # noqa: B023
        except HeartoptError as error:
            send("error", str(error))
        except (BrokenPipeError, ConnectionResetError, EOFError):
            raise
        except Exception:
            send("crash", traceback.format_exc())
