"""The command's outer behaviour: help, version, exit codes, one-line errors, closed pipes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import heartopt as package
from heartopt.cli import evaluate, tokenize, train
from heartopt.errors import CodecError


def test_help_lists_the_verbs_and_loads_no_torch() -> None:
    code = (
        "import sys; from heartopt.cli.main import main; main(['--help']);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'numpy', 'pandas')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    for verb in ("tokenize", "decode", "optimize", "evaluate", "train"):
        assert f"  {verb} " in ran.stdout
    assert "..." not in ran.stdout.partition("Commands:")[2]  # no verb's help is cut


@pytest.mark.parametrize(
    ("verb", "name"), [("tokenize", "INPUT..."), ("decode", "TOKENS..."), ("evaluate", "[INPUT...]"), ("train", None)]
)
def test_help_shows_arguments_as_they_are_named(heartopt, verb: str, name: str | None) -> None:
    ran = heartopt(verb, "--help")
    usage = f"Usage: heartopt {verb} [OPTIONS]"
    assert (ran.code, ran.out.splitlines()[0]) == (0, usage if name is None else f"{usage} {name}")
    assert "list[Path]" not in ran.out and "\nCommon options:\n" in ran.out
    if name is not None:
        assert f"\nArguments:\n  {name}  " in ran.out


def test_version(heartopt) -> None:
    ran = heartopt("--version")
    assert (ran.code, ran.out.strip()) == (0, f"heartopt {package.__version__}")


def test_python_dash_m_is_the_command() -> None:
    ran = subprocess.run([sys.executable, "-m", "heartopt", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("heartopt ")


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["tokenize", "x.wav"],
        ["tokenize", "-o", "out"],
        ["decode", "x.npy", "-o", "out", "--steps", "0"],
        ["decode", "x.npy", "-o", "out", "--no-such-flag"],
        ["tokenize", "x.wav", "-o", "out", "--device", "tpu"],
        ["decode", "x.npy", "-o", "out", "--dtype", "int8"],
    ],
)
def test_wrong_usage_is_exit_code_2(heartopt, args: list[str]) -> None:
    ran = heartopt(*args)
    assert ran.code == 2
    assert ran.out == ""
    assert "Error: " in ran.err and "Traceback" not in ran.err


def test_an_error_is_one_line_and_exit_code_1(heartopt, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise CodecError("two\nlines")

    monkeypatch.setattr(tokenize, "run", fail)
    ran = heartopt("tokenize", "x.wav", "-o", "out")
    assert (ran.code, ran.out) == (1, "")
    assert ran.one_line_error() == "error: two lines"
    ran = heartopt("tokenize", "x.wav", "-o", "out", "--json")
    assert (ran.code, ran.json) == (1, {"error": "two lines"})


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA: …"), RuntimeError("DefaultCPUAllocator: can't allocate memory: …")],
)
@pytest.mark.parametrize(
    ("args", "advice"),
    [
        (("tokenize", "x.wav", "-o", "out"), "--device"),
        (("evaluate", "x.wav"), "--duration"),
        (("train", "--data-dir", "songs", "-o", "out"), "--batch-size 2 with --grad-accum 4, --max-duration 3"),
    ],
)
def test_out_of_memory_is_one_line_of_advice(
    heartopt, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], advice: str, error: Exception
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    for verb in (tokenize, evaluate, train):
        monkeypatch.setattr(verb, "run", fail)
    ran = heartopt(*args)
    assert (ran.code, ran.out) == (1, "")
    assert ran.one_line_error().startswith("error: out of memory; ") and advice in ran.err


def test_other_errors_of_the_program_are_not_hidden(heartopt, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(tokenize, "run", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        heartopt("tokenize", "x.wav", "-o", "out")


def test_interrupt_is_one_line_and_130(heartopt, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tokenize, "run", interrupt)
    ran = heartopt("tokenize", "x.wav", "-o", "out")
    assert (ran.code, ran.out, ran.err) == (130, "", "interrupted\n")


def test_a_reader_that_leaves_is_no_reason_to_complain() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "heartopt", "train", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    complaints = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) in (0, 1)
    assert complaints == ""


def test_libraries_do_not_reach_the_user(heartopt, monkeypatch: pytest.MonkeyPatch) -> None:
    def chatter(*_args: object, **_kwargs: object) -> None:
        import logging
        import warnings

        warnings.warn("deprecated!", UserWarning, stacklevel=1)
        logging.getLogger("some.library").error("chatter")
        logging.getLogger("heartopt.some.part").warning("worth knowing")
        print("stray")

    monkeypatch.setattr(tokenize, "run", chatter)
    ran = heartopt("tokenize", "x.wav", "-o", "out")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "warning: worth knowing\nstray\n"


def test_public_names_are_the_documented_ones() -> None:
    assert {
        "HeartCodec",
        "EncoderProjection",
        "encode_with_projection",
        "optimize_tokens",
        "evaluate",
    } <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense


def test_importing_the_package_is_cheap(tmp_path: Path) -> None:
    code = "import heartopt, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
