from __future__ import annotations

import json
from pathlib import Path

import pytest

from heartopt.report.__main__ import main

pytest.importorskip("matplotlib")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    records = [{"kind": "step", "step": n, "epoch": n / 4, "loss": 1 / n, "terms": {"flow": 1 / n}} for n in (1, 2, 4)]
    path = tmp_path / "run.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_curves_are_drawn_beside_the_log_and_follow_from_it(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(log)]) == 1
    assert main([str(log)]) == 0 and main(["--check", str(log)]) == 0
    assert log.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    log.write_text(log.read_text().replace("0.5", "0.6", 1))
    capsys.readouterr()
    assert main(["--check", str(log)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {log.with_suffix('.png')}: was not drawn from {log}")


def test_a_log_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--check"]):
        assert main([*arguments, str(tmp_path / "none.jsonl")]) == 1
        assert capsys.readouterr().err.count("\n") == 1
