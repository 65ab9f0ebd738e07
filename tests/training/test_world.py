"""Several processes train as one: the launcher, the shared draws and the averaged gradients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from heartopt.errors import HeartoptError
from heartopt.training.world import ALONE, World, join_world

CODEC = Path(__file__).parents[1] / "data" / "codec"
FLAGS = ("--hidden-dim", "16", "--projection-type", "linear", "--max-duration", "0.48", "--steps", "5", "--lr", "3e-3")
REST = ("--val-crops", "2", "--num-val-samples", "0", "--device", "cpu", "--codec", str(CODEC))


def launch(arguments: list[str], *, processes: int, cache: Path) -> None:
    """`heartopt train`, alone or in processes that accelerate starts."""
    start = [sys.executable, "-m"]
    if processes > 1:
        # Without `--cpu`, with which accelerate starts several processes through MPI alone.
        several = ["--multi_gpu", "--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"]
        start += ["accelerate.commands.launch", *several, "--mixed_precision", "no", "--dynamo_backend", "no", "-m"]
    environment = {**os.environ, "HEARTOPT_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [*start, "heartopt", "train", *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert ran.returncode == 0, ran.stderr


def steps(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "step"]


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_doubled_batch(songs: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    for name, processes, batch in (("one", 1, "4"), ("two", 2, "2")):
        arguments = ["--data-dir", str(songs), "-o", str(tmp_path / name), "--batch-size", batch, *FLAGS, *REST]
        launch(arguments, processes=processes, cache=tmp_path / "cache" / name)
    alone, together = steps(tmp_path / "one"), steps(tmp_path / "two")
    assert [line["step"] for line in alone] == [line["step"] for line in together] != []
    for a, b in zip(alone, together, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
        assert b["terms"] == pytest.approx(a["terms"], rel=1e-4)
        assert (b["usage"], b["audio_seconds"]) == (a["usage"], a["audio_seconds"])
    weights = [load_file(tmp_path / name / "latest.safetensors") for name in ("one", "two")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-5)
    assert json.loads((tmp_path / "two/best_projection.json").read_text())["processes"] == 2


def test_alone_nothing_is_asked_of_anyone() -> None:
    with join_world(torch.device("cpu")) as world:
        assert world is ALONE
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([1.0, 2.0])
    world.average_gradients([weight])
    assert weight.grad.tolist() == [1.0, 2.0]
    assert (world.main, world.any(True), world.any(False), world.agreed("stopped", ("", "stopped"))) == (
        *(True, True, False),
        "stopped",
    )


@pytest.mark.slow
def test_processes_that_find_different_checkpoints_stop_at_once(songs: Path, tmp_path: Path) -> None:
    """Each process looks into a folder of its own, as on machines that share none; only one holds a run."""
    common = ["--data-dir", str(songs), "--batch-size", "2", *FLAGS, *REST, "--resume", "auto"]
    launch([*common, "-o", str(tmp_path / "0")], processes=1, cache=tmp_path / "cache")
    script = tmp_path / "each.py"
    script.write_text(
        "import os, sys\nfrom heartopt.cli.main import main\n"
        f"sys.exit(main(['train', *sys.argv[1:], '-o', {str(tmp_path)!r} + '/' + os.environ['RANK']]))\n"
    )
    several = ["--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "HEARTOPT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *several, str(script), *common],
        **{"capture_output": True, "text": True, "env": environment, "check": False, "timeout": 120},
    )
    assert ran.returncode != 0
    assert "error: the processes find different checkpoints" in ran.stderr


@pytest.mark.slow
def test_two_processes_go_on_in_another_folder(songs: Path, tmp_path: Path) -> None:
    """Its best projection is not there, so that both forget it and one judges anew while the other waits."""
    common = ["--data-dir", str(songs), "--batch-size", "2", *FLAGS, *REST]
    launch([*common, "-o", str(tmp_path / "one")], processes=1, cache=tmp_path / "cache")
    resume = ["-o", str(tmp_path / "two"), "--steps", "8", "--resume", str(tmp_path / "one/latest.safetensors")]
    # A file that is skipped is exit code 3 for one process, but a crash to what started several: it is listed alone.
    (songs / "broken.wav").write_text("la la la")
    launch([*common, *resume], processes=2, cache=tmp_path / "cache")
    assert "broken.wav" in (tmp_path / "two/skipped.tsv").read_text()
    assert (tmp_path / "two/best_projection.safetensors").is_file()
    assert json.loads((tmp_path / "two/latest.json").read_text())["step"] == 8


def test_a_process_without_a_gradient_counts_as_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where all of its audio was silent and another's was not: both must send as many values."""
    sent: list[torch.Tensor] = []

    def total(_world: World, values: torch.Tensor) -> torch.Tensor:
        sent.append(values.clone())
        return values + torch.tensor([2.0, 4.0, 6.0])  # the other process' gradients

    monkeypatch.setattr(World, "sum", total)
    with_gradient, without = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(1))
    with_gradient.grad = torch.tensor([4.0, 6.0])
    World(0, 2).average_gradients([with_gradient, without])
    assert sent[0].tolist() == [4.0, 6.0, 0.0]
    assert with_gradient.grad.tolist() == [3.0, 5.0]
    assert without.grad is not None and without.grad.tolist() == [3.0]


def test_another_process_that_fails_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:28231")

    monkeypatch.setattr(torch.distributed, "all_reduce", gone)
    monkeypatch.setattr(torch.distributed, "broadcast", gone)
    world = World(1, 2)
    calls = (world.barrier, lambda: world.any(True), lambda: world.same("x"), lambda: world.agreed("", ("",)))
    for call in calls:
        with pytest.raises(HeartoptError, match="lost another process"):
            call()


def test_processes_that_cannot_be_reached_are_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # and no address of the first one
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(HeartoptError, match="cannot reach the other 1 processes"), join_world(torch.device("cpu")):
        pass


def test_only_the_first_process_writes() -> None:
    assert World(0, 2).main
    assert not World(1, 2).main
