"""`heartopt train`: a tiny run through the command; the loop's own tests are beside the loop."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import shutil
import signal
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from heartopt.cli.loading import local_device
from heartopt.cli.main import app
from heartopt.cli.train_view import TrainView

SMALL = ("--hidden_dim", 16, "--projection_type", "linear", "--batch_size", 2, "--max_duration", 0.4)
QUICK = (*SMALL, "--val_crops", 2, "--num_val_samples", 0, "--lr", "1e-3")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEARTOPT_CACHE", str(tmp_path / "cache"))


def test_a_projection_appears_and_tokenizes(heartopt, make_song, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_song(f"in/{name}.wav", seconds=1.2)
    args = ("--data_dir", tmp_path / "in", "--output_dir", tmp_path / "run", *QUICK)
    ran = heartopt("train", *args, "--steps", 3, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["ended"], ran.json["step"], ran.json["steps"], ran.json["failed"]) == ("done", 3, 3, [])
    best = Path(ran.json["projection"])
    card = json.loads(best.with_suffix(".json").read_text())
    assert "heartopt train --data_dir" in json.dumps(card)
    made = heartopt("tokenize", tmp_path / "in/a.wav", "-o", tmp_path / "out", "--projection", best)
    assert (made.code, made.err) == (0, "")

    again = heartopt("train", *args, "--steps", 3)
    assert again.code == 2
    assert "--overwrite" in again.one_line_error()


def test_bad_songs_are_listed(heartopt, make_song, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_song(f"in/{name}.wav", seconds=1.2)
    (tmp_path / "in/bad.wav").write_text("la la la")
    args = ("--data-dir", tmp_path / "in", "-o", tmp_path / "run", *QUICK, "--steps", 1, "--json")
    ran = heartopt("train", *args)
    assert ran.code == 3
    assert [Path(row["input"]).name for row in ran.json["failed"]] == ["bad.wav"]
    assert "bad.wav" in ran.err


def test_copies_and_validation_songs_are_no_failures(heartopt, make_song, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_song(f"in/{name}.wav", seconds=1.2)
    shutil.copy(tmp_path / "in/a.wav", tmp_path / "in/copy.wav")
    (tmp_path / "val").mkdir()
    shutil.copy(tmp_path / "in/b.wav", tmp_path / "val/b.wav")
    args = ("--data-dir", tmp_path / "in", "--val-dir", tmp_path / "val", "-o", tmp_path / "run", *QUICK)
    ran = heartopt("train", *args, "--steps", 1, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["failed"] == []
    assert sorted(Path(row["input"]).name for row in ran.json["skipped"]) == ["b.wav", "copy.wav"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_tells_how_to_go_on(heartopt, make_song, tmp_path: Path, monkeypatch, number: int) -> None:
    for name in ("a", "b"):
        make_song(f"in/{name}.wav", seconds=1.2)
    hear = TrainView.__call__

    def interrupt(self: TrainView, event: object) -> None:
        hear(self, event)  # type: ignore[arg-type]
        if getattr(event, "kind", "") == "step":
            os.kill(os.getpid(), number)

    monkeypatch.setattr(TrainView, "__call__", interrupt)
    before = signal.getsignal(number)
    args = ("--data-dir", tmp_path / "in", "-o", tmp_path / "run", *QUICK, "--steps", 50)
    ran = heartopt("train", *args)
    assert ran.code == 130
    assert "--resume auto" in ran.err
    assert signal.getsignal(number) == before
    monkeypatch.undo()
    assert (tmp_path / "run/latest.safetensors").is_file()


def test_interrupting_while_songs_are_encoded_tells_to_run_again(
    heartopt, make_song, tmp_path: Path, monkeypatch
) -> None:
    for name in ("a", "b"):
        make_song(f"in/{name}.wav", seconds=1.2)
    monkeypatch.setattr(TrainView, "__call__", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    args = ("--data-dir", tmp_path / "in", "-o", tmp_path / "run", *QUICK, "--steps", 1)
    ran = heartopt("train", *args, "--json")
    assert ran.code == 130
    assert "1 of 2" in ran.json["error"] and "again" in ran.json["error"]
    assert "Traceback" not in ran.err
    monkeypatch.undo()
    monkeypatch.setenv("HEARTOPT_CACHE", str(tmp_path / "cache"))
    assert heartopt("train", *args).code == 0


@pytest.mark.parametrize(
    "args",
    [
        ("--lr", -1),
        ("--budget", 0),
        ("--steps", 1, "--epochs", 1),
        ("--init", "x"),
        ("--objective", "stft"),
        ("--objective", "distill"),
        ("--hidden-dim", 100),
        ("--deshimmer", "--num-val-samples", 0),
        ("--no-cache", "--cache-dir", "cache"),
        ("--temp-start", 0.1, "--temp-end", 1),
        ("--no-amp", "--amp-dtype", "float16"),
        ("--amp-dtype", "int8"),
        ("--use-amp", "--amp-dtype", "float32"),
        ("--lr", "1e300"),
    ],
)
def test_settings_that_make_no_sense_are_wrong_usage(heartopt, make_song, tmp_path: Path, args) -> None:
    ran = heartopt("train", "--data-dir", make_song().parent, "-o", tmp_path / "run", *args)
    assert (ran.code, ran.out) == (2, "")
    ran.one_line_error()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("args", "precision"),
    [
        ((), None),
        (("--no-amp",), "float32"),
        (("--use-amp",), "bfloat16"),
        (("--amp-dtype", "float16"), "float16"),
        (("--use-amp", "--amp-dtype", "float16"), "float16"),
    ],
)
def test_the_flags_of_mixed_precision(heartopt, make_song, tmp_path: Path, monkeypatch, args, precision) -> None:
    asked: list[object] = []

    def run(_session: object, _codec: object, _device: object, settings: dict[str, object]) -> None:
        asked.append(settings["precision"])

    monkeypatch.setattr("heartopt.cli.train.run", run)
    assert heartopt("train", "--data-dir", make_song().parent, "-o", tmp_path / "run", *args).code == 0
    assert asked == [precision]


@pytest.mark.parametrize(("line", "precision"), [("no_amp: true", "float32"), ("no-amp: false", "bfloat16")])
def test_a_flag_that_switches_off_can_stand_in_a_file(
    heartopt, make_song, tmp_path: Path, monkeypatch, line: str, precision: str
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("heartopt.cli.train.run", lambda *given: asked.append(given[3]["precision"]))
    (tmp_path / "c.yaml").write_text(line + "\n")
    args = ("--data-dir", make_song().parent, "-o", tmp_path / "run", "--config", tmp_path / "c.yaml")
    assert heartopt("train", *args).code == 0
    assert asked == [precision]
    (tmp_path / "c.yaml").write_text("no-amp: 3\n")
    ran = heartopt("train", *args)
    assert ran.code == 2 and "'no-amp' must be true or false" in " ".join(ran.err.split())


def test_of_several_processes_the_first_alone_draws(heartopt, make_song, tmp_path: Path, monkeypatch) -> None:
    from heartopt.cli.console import Session
    from heartopt.cli.train import _shared_terminal

    session = Session(sys.stdout, False, "")
    for rank, quiet in (("0", False), ("1", True)):
        monkeypatch.setenv("RANK", rank)
        console = _shared_terminal(session)
        assert (console.quiet, console.is_interactive) == (quiet, False)


@pytest.mark.parametrize(("name", "found"), [("auto", "cuda:1"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0")])
def test_processes_of_one_machine_take_a_gpu_each(monkeypatch, name: str, found: str) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert local_device(name) == found
    monkeypatch.delenv("LOCAL_RANK")
    assert local_device(name) == name


def test_without_a_gpu_the_device_is_what_was_asked_for(monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert (local_device("auto"), local_device("cpu")) == ("auto", "cpu")


def test_no_songs(heartopt, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for songs in ("in", "gone"):
        ran = heartopt("train", "--data-dir", tmp_path / songs, "-o", tmp_path / "runs/first", *QUICK)
        assert (ran.code, ran.out) == (1, "")
        ran.one_line_error()
        assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_training_reports_step_by_step_command_runs_as_it_stands(
    heartopt, make_song, tmp_path: Path, monkeypatch
) -> None:
    """Every flag and number of the report's third step; only the budget is ours, so that 100 epochs end."""
    for name in ("a", "b", "c"):
        make_song(f"audio/{name}.wav", seconds=1.2)
    make_song("validation/song1.wav", seconds=1.2)
    monkeypatch.chdir(tmp_path)
    report = """
      --data_dir audio
      --val_dir validation
      --output_dir output
      --epochs 100
      --batch_size 4
      --highfreq_weight 0.5
      --deshimmer
      --val_interval 5
    """
    ran = heartopt("train", *report.split(), "--budget", 15, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["ended"] == "budget"
    assert "highfreq_weight has no effect" in ran.err
    folder = tmp_path / "output"
    assert (folder / "training.log").is_file() and (folder / "latest.safetensors").is_file()
    assert json.loads((folder / "best_projection.json").read_text())["settings"]["highfreq_weight"] == 0.5


REPORT_FLAGS = {
    "hidden_dim": 256,
    "batch_size": 8,
    "epochs": None,  # 100, where --steps is not given either
    "lr": 1e-3,
    "max_duration": None,  # 5 seconds where the objective listens, as the report's does
    "num_workers": 4,
    "commitment_weight": 0.25,
    "include_phase": False,
    "highfreq_weight": 0.0,
    "warmup_steps": 2000,
    "grad_clip": 0.5,
    "use_amp": None,  # on a GPU
    "val_interval": 5,
    "val_diffusion_steps": 16,
    "val_detokenize_steps": 20,
    "num_val_samples": 5,
    "deshimmer": False,
    "save_interval": 10,
    "resume": None,
    "val_dir": None,
    "output_dir": Path("encoder_projection_fast"),
}


def test_the_training_reports_flags_have_its_defaults() -> None:
    command = get_command(app).commands["train"]  # type: ignore[attr-defined]
    defaults = {param.name: param.default for param in command.params}
    assert {name: defaults[name] for name in REPORT_FLAGS} == REPORT_FLAGS
    flags = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
    assert {"--data-dir", "--codec-name", "--projection-type", "--no-amp", "--use-amp"} <= flags


def test_defaults_are_the_librarys() -> None:
    from heartopt.training import train

    command = get_command(app).commands["train"]  # type: ignore[attr-defined]
    ours = inspect.signature(train).parameters
    for param in command.params:
        if param.name in ours and param.name not in ("codec", "data_dir", "output_dir", "device"):
            assert param.default == ours[param.name].default, param.name


class Poison:
    """Runs code where it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("name", ["checkpoint_epoch50.pt", "latest.safetensors"])
@pytest.mark.parametrize("flag", ["--resume", "--init"])
def test_a_poisoned_pickle_is_one_line_and_is_not_run(
    heartopt, make_song, tmp_path: Path, name: str, flag: str
) -> None:
    proof = tmp_path / "proof"
    (tmp_path / name).write_bytes(pickle.dumps({"projection_state_dict": Poison(proof)}))
    args = ("--data-dir", make_song("in/a.wav", seconds=1.2).parent, "-o", tmp_path / "run", *QUICK, "--steps", 1)
    ran = heartopt("train", *args, flag, tmp_path / name)
    assert ran.code == 1
    assert ran.err.strip().splitlines()[-1].startswith("error: ") and "Traceback" not in ran.err
    assert name in ran.err
    assert not proof.exists()
