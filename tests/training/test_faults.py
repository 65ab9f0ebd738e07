"""What a run survives: being killed at any moment, a full disk, songs and files that change under it."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from heartopt import files
from heartopt.codec import HeartCodec
from heartopt.errors import HeartoptError, OutputError
from heartopt.training import StepRecord, clips, placement, validation, watch
from heartopt.training import run as run_module

CODEC = Path(__file__).parents[1] / "data" / "codec"


def same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


#: Run by a fresh process that already has torch: a fork of one that only imported it.
SCRIPT = """
import time
from pathlib import Path
import torch
from heartopt.codec import HeartCodec
from heartopt.training import run, train
torch.set_num_threads(1)
run.SAVE_SECONDS = 0.0  # a checkpoint after every step
train(
    data_dir=Path(songs), output_dir=Path(output), codec=HeartCodec.from_pretrained(codec), cache_dir=Path(cache),
    projection_type="linear", hidden_dim=16, batch_size=2, max_duration=0.48, steps=40, lr=3e-3, val_crops=2,
    num_val_samples=1, val_interval=2, val_detokenize_steps=2, num_workers=1, resume="auto",
)
"""


def begin(songs: Path, output: Path, cache: Path) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["heartopt.training.train", "soundfile"])
    names = {"codec": str(CODEC), "songs": str(songs), "output": str(output), "cache": str(cache)}
    process = context.Process(target=exec, args=(SCRIPT, names))
    process.start()
    return process


@pytest.mark.slow
def test_killed_at_ten_moments_it_ends_as_if_it_had_not_been(songs: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    whole = begin(songs, tmp_path / "whole", tmp_path / "cache_whole")
    whole.join()
    assert whole.exitcode == 0
    length = time.monotonic() - began
    moments = random.Random(0)
    for _ in range(10):
        process = begin(songs, tmp_path / "killed", tmp_path / "cache_killed")
        process.join(moments.uniform(0.05, 0.4) * length)
        process.kill()
        process.join()
    last = begin(songs, tmp_path / "killed", tmp_path / "cache_killed")
    last.join()
    assert last.exitcode == 0
    for name in ("latest", "best_projection", "best_projection_stft"):
        assert same(tmp_path / f"whole/{name}.safetensors", tmp_path / f"killed/{name}.safetensors")


def test_a_full_disk_is_one_error_and_the_last_checkpoint_stays(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("whole")
    flush = files._flush_to_disk
    steps: list[int] = []

    def full(path: Path, flags: int = os.O_RDONLY) -> None:
        if len(steps) >= 4:
            raise OSError(28, "No space left on device")
        flush(path, flags)

    monkeypatch.setattr(files, "_flush_to_disk", full)
    with pytest.raises(OutputError, match=r"cannot write .*: No space left on device"):
        run("full", progress=lambda event: steps.append(1) if isinstance(event, StepRecord) else None)
    monkeypatch.undo()
    assert not [path for path in (tmp_path / "full").rglob(".*") if path.is_file()]
    again = run("full", resume="auto")
    assert again.ended == "done"
    assert same(tmp_path / "whole/latest.safetensors", tmp_path / "full/latest.safetensors")
    assert same(whole.projection, again.projection)


def test_songs_that_vanish_or_change_between_epochs_do_not_matter(run: Any, songs: Path, tmp_path: Path) -> None:
    run("whole", epochs=4, steps=None)
    events: list[object] = []

    def spoil(event: object) -> None:
        events.append(event)
        if isinstance(event, StepRecord) and event.step == 3:
            (songs / "a.wav").unlink()
            (songs / "b.wav").write_bytes(b"no audio any more")

    assert run("spoilt", epochs=4, steps=None, progress=spoil).ended == "done"
    assert same(tmp_path / "whole/latest.safetensors", tmp_path / "spoilt/latest.safetensors")


def test_latents_that_vanish_are_one_error_that_says_how_to_go_on(run: Any, tmp_path: Path) -> None:
    def remove(event: object) -> None:
        if isinstance(event, StepRecord) and event.step == 2:
            for path in (tmp_path / "cache").rglob("*.safetensors"):
                path.unlink()

    with pytest.raises(HeartoptError, match="--resume auto"):
        run("run", steps=40, cache_dir=tmp_path / "cache", progress=remove)
    assert run("run", steps=40, cache_dir=tmp_path / "cache", resume="auto").ended == "done"


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@contextmanager
def killed_at(moment: int | None) -> Iterator[list[str]]:
    """Die at the `moment`-th rename or line of metrics, before it is done, and at all that try one afterwards.

    Gives the names of what was to be written so far.
    """
    met: list[str] = []

    def die(name: str) -> None:
        met.append(name)
        if moment is not None and len(met) >= moment:
            raise Killed(name)

    class Disk:
        """`os`, whose renames may be the last of this process."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def replace(self, source: Path, target: Path) -> None:
            die(Path(target).name)
            os.replace(source, target)

    def write(self: watch.Metrics, record: Any) -> None:
        die(f"{record.kind} {record.step}")
        append(self, record)

    append = watch.Metrics.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "os", Disk())
        patch.setattr(watch.Metrics, "write", write)
        yield met


@pytest.fixture
def eventful(run: Any, codec: HeartCodec, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Six steps in two epochs that write at every turn; without what only costs time: pictures, decoding, figures,
    moving the codec to where it is, and the disk's own memory, for it is the process that dies.
    """

    def audio_of(codes: torch.Tensor, **_: Any) -> torch.Tensor:
        heights = codes.float().mean(0) / codec.config.codebook_size - 0.5
        return heights.repeat_interleave(codec.samples_per_code).expand(2, -1)

    def draw(_: Path, out: Path) -> None:
        files.write_text(out, "curves")

    monkeypatch.setattr(files, "_flush_to_disk", lambda *_: None)
    monkeypatch.setattr(placement, "place", lambda *_: None)
    monkeypatch.setattr(validation, "PASSES", 2)
    monkeypatch.setattr(codec, "detokenize", audio_of)
    monkeypatch.setattr(clips, "measure", lambda made, original: {"stft": float((made - original).abs().mean())})
    monkeypatch.setattr(run_module, "draw_curves", draw)
    monkeypatch.setattr(run_module, "SAVE_SECONDS", 0.0)  # a checkpoint after every step
    often = {"val_interval": 0.67, "save_interval": 1.0, "num_val_samples": 1, "val_detokenize_steps": 1}
    return lambda output: run(output, batch_size=5, val_crops=1, keep=1, resume="auto", **often)


def left_by(folder: Path) -> dict[str, Any]:
    """What a run's files hold, but for times: the log, TensorBoard's files, and the seconds of a step; and but for the
    readable copy of `latest`'s header, which comes after it and is read by nobody.
    """
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors":  # their headers' order is random
            with safe_open(path, framework="pt") as file:
                tensors = {key: (t.shape, t.dtype, t.numpy().tobytes()) for key, t in load_file(path).items()}
                found[name] = (file.metadata(), tensors)
        elif path.name == "metrics.jsonl":
            found[name] = [json.loads(line) | {"seconds": 0} for line in path.read_text().splitlines()]
        elif path.is_file() and name not in ("training.log", "latest.json") and path.parent.name != "tensorboard":
            found[name] = path.read_bytes()
    return found


def test_killed_at_any_write_it_ends_as_if_it_had_not_been(eventful: Any, tmp_path: Path) -> None:
    eventful("first")  # the latents are in the cache from here on
    with killed_at(None) as moments:
        eventful("whole")
    whole = left_by(tmp_path / "whole")
    assert {"best_projection.safetensors", "best_projection_stft.safetensors", "latest.safetensors"} < whole.keys()
    for moment in range(1, len(moments) + 1):
        folder = f"killed{moment}"
        with pytest.raises(Killed), killed_at(moment):
            eventful(folder)
        eventful(folder)
        again = left_by(tmp_path / folder)
        assert sorted(again) == sorted(whole), moments[:moment]
        assert [name for name in whole if again[name] != whole[name]] == [], moments[:moment]


def test_killed_again_and_again_it_ends_as_if_it_had_not_been(eventful: Any, tmp_path: Path) -> None:
    """The first life ends at its first write, the second at its second, until one comes through."""
    eventful("whole")
    for moment in itertools.count(1):
        try:
            with killed_at(moment):
                eventful("killed")
            break
        except Killed:
            continue
    assert moment > 8
    assert left_by(tmp_path / "killed") == left_by(tmp_path / "whole")
