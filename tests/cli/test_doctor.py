"""`heartopt doctor`: its table, JSON and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

CODEC = Path(__file__).parents[1] / "data" / "codec"
TINY = ("--codec", CODEC, "--device", "cpu")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEARTOPT_CACHE", str(tmp_path / "cache"))


def test_a_table_in_words_for_a_new_user(heartopt) -> None:
    ran = heartopt("doctor")
    assert (ran.code, ran.err) == (0, "")
    rows = {line[:20].strip(): line[20:].split()[0] for line in ran.out.splitlines() if line[:1].isalpha()}
    assert (rows["check"], rows["codec"], rows["data folder"]) == ("result", "ok", "skipped")
    assert "mini" in ran.out
    assert ran.out.splitlines()[-1].startswith("11 checks: ")
    assert "\x1b" not in ran.out


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_table_fits(heartopt, make_song, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    make_song(f"in/{'long ' * 30}.wav", seconds=1.2)
    (tmp_path / f"in/{'x' * 120}.wav").write_text("la la la")
    ran = heartopt("doctor", *TINY, "--data-dir", tmp_path / "in")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= columns
    assert "…" not in ran.out


def test_json_is_one_object(heartopt, make_song, tmp_path: Path) -> None:
    make_song("in/a.wav", seconds=1.2)
    ran = heartopt("doctor", *TINY, "--data_dir", tmp_path / "in", "--output_dir", tmp_path / "out", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert set(ran.json) == {"checks", "ok"} and ran.json["ok"] is True
    for check in ran.json["checks"]:
        assert set(check) == {"name", "status", "detail", "remedy"}
        assert all(isinstance(value, str) for value in check.values())
    status = {check["name"]: check["status"] for check in ran.json["checks"]}
    assert (status["data folder"], status["output folder"]) == ("warning", "ok")
    assert not (tmp_path / "out").exists() and not (tmp_path / "cache").exists()


def test_a_failed_check_is_exit_code_1_and_a_line(heartopt, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    ran = heartopt("doctor", *TINY, "--data-dir", gone)
    assert ran.code == 1
    assert ran.one_line_error() == f"error: data folder: {gone}: no such file or folder"
    assert "failed" in ran.out and "check --data-dir" in ran.out
    ran = heartopt("doctor", *TINY, "--data-dir", gone, "--val-dir", gone, "--json")
    assert (ran.code, ran.json["ok"], len(ran.err.splitlines())) == (1, False, 2)
    assert "Traceback" not in ran.err


def test_a_codec_that_does_not_load_is_exit_code_1(heartopt, tmp_path: Path) -> None:
    ran = heartopt("doctor", "--codec", tmp_path, "--device", "cpu")
    assert ran.code == 1
    assert ran.one_line_error() == f"error: codec: codec {tmp_path}: no config.json in this folder"


def test_wrong_usage_is_exit_code_2(heartopt, tmp_path: Path) -> None:
    assert heartopt("doctor", "--device", "tpu").code == 2
    assert heartopt("doctor", "--no-such-flag").code == 2
    assert heartopt("doctor", "songs").code == 2
    ran = heartopt("doctor", "--revision", "main")
    assert ran.code == 2
    assert "has no revision main" in ran.one_line_error()


def test_file_names_are_not_markup(heartopt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "[red]in[" / "b"
    folder.mkdir(parents=True)
    (folder / "[bold]song[red] \x1b[31m :smile:.wav").write_text("la la la")
    ran = heartopt("doctor", *TINY, "--data-dir", tmp_path / "[red]in[", "-o", tmp_path / "[link=x]")
    assert ran.code == 1
    assert r"b/[bold]song[red] \x1b[31m :smile:.wav" in ran.out
    assert "[link=x]" in ran.out and "[red]in[" in ran.err
    assert "\x1b" not in ran.out + ran.err


def test_a_config_file_sets_its_flags(heartopt, tmp_path: Path) -> None:
    config = tmp_path / "doctor.yaml"
    config.write_text(f"codec: {CODEC}\ndevice: cpu\ndata_dir: {tmp_path / 'gone'}\n")
    ran = heartopt("doctor", "--config", config)
    assert ran.code == 1
    assert "no such file or folder" in ran.one_line_error()
