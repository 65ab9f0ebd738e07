"""`heartopt deshimmer`: what it writes, where, what it says about it, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

EAGER = ("--threshold", 4, "--slope", 1)


@pytest.fixture
def ringing(tmp_path: Path) -> Path:
    """Noise in which a tone rings; 22.05 kHz, mono."""
    random = np.random.default_rng(0)
    time = np.arange(2 * 22_050) / 22_050
    path = tmp_path / "in/song.wav"
    path.parent.mkdir()
    soundfile.write(path, 0.02 * random.standard_normal(len(time)) + 0.004 * np.sin(2 * np.pi * 6_100 * time), 22_050)
    return path


def test_files_and_json(heartopt, ringing: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = heartopt("deshimmer", ringing.parent, "-o", out, *EAGER, "--difference", "--plot", "--json")
    assert (ran.code, ran.err, ran.json["failed"], ran.json["skipped"]) == (0, "", [], [])
    (row,) = ran.json["files"]
    names = {"audio": "song.deshimmered.wav", "removed": "song.removed.wav", "plot": "song.shimmer.png"}
    assert {key: row[key] for key in names} == {key: str(out / name) for key, name in names.items()}
    assert sorted(path.name for path in out.iterdir()) == sorted(names.values())
    assert (row["sample_rate"], row["seconds"], row["gain_db"]) == (22_050, 2.0, 0)
    assert -60 < row["removed_db"] < -15
    assert row["rtf"] == pytest.approx(row["wall_seconds"] / 2)
    assert (out / "song.shimmer.png").read_bytes().startswith(b"\x89PNG")
    parts = [soundfile.read(out / names[key])[0] for key in ("audio", "removed")]
    np.testing.assert_allclose(sum(parts), soundfile.read(ringing)[0], atol=1e-6)


def test_finished_files_are_skipped(heartopt, ringing: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # no name is folded
    args = ("deshimmer", ringing, "-o", tmp_path / "out")
    first = heartopt(*args)
    assert first.code == 0 and "song.deshimmered.wav" in first.out
    written = tmp_path / "out/song.deshimmered.wav"
    before = written.stat().st_mtime_ns
    again = heartopt(*args)
    assert again.code == 0 and "--overwrite" in again.err
    assert written.stat().st_mtime_ns == before
    assert heartopt(*args, "--overwrite").code == 0
    assert written.stat().st_mtime_ns > before


def test_what_it_wrote_is_no_song_of_the_folder(heartopt, ringing: Path) -> None:
    for _ in range(2):
        ran = heartopt("deshimmer", ringing.parent, "-o", ringing.parent, "--difference", "--overwrite", "--json")
        assert [Path(row["input"]).name for row in ran.json["files"]] == ["song.wav"]
    named = ringing.with_name("song.removed.wav")
    assert heartopt("deshimmer", named, "-o", ringing.parent / "out", "--json").json["files"][0]["input"] == str(named)


def test_it_says_so_where_it_scales(heartopt, tmp_path: Path) -> None:
    loud = 2 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 48_000)
    soundfile.write(tmp_path / "loud.wav", loud, 48_000, subtype="FLOAT")
    ran = heartopt("deshimmer", tmp_path / "loud.wav", "-o", tmp_path / "out")
    assert ran.code == 0
    assert "scaled by -6.02 dB to stay under full scale" in ran.err


def test_bands_in_cents_or_hertz(heartopt, ringing: Path, tmp_path: Path) -> None:
    by_cents = ("--center", 6_000, "--cents", 600)
    by_hertz = ("--low", 6_000 / 2**0.25, "--high", 6_000 * 2**0.25)
    outputs = []
    for name, band in (("a", by_cents), ("b", by_hertz)):
        ran = heartopt("deshimmer", ringing, "-o", tmp_path / name, *EAGER, *band)
        assert ran.code == 0, ran.err
        outputs.append((tmp_path / name / "song.deshimmered.wav").read_bytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--center", 6_000), "--cents need each other"),
        (("--center", 6_000, "--cents", 600, "--low", 5_000), "given twice"),
        (("--low", 8_000), "must rise"),
        (("--mix", 2), "mix must be from 0 to 1"),
    ],
)
def test_settings_that_make_no_sense(heartopt, ringing: Path, tmp_path: Path, flags, words: str) -> None:
    ran = heartopt("deshimmer", ringing, "-o", tmp_path / "out", *flags)
    assert ran.code == 2
    assert words in ran.one_line_error()
    assert not (tmp_path / "out").exists()


def test_one_bad_file_of_two(heartopt, ringing: Path, tmp_path: Path) -> None:
    soundfile.write(ringing.with_name("phone.wav"), np.zeros(8_000), 8_000)
    ran = heartopt("deshimmer", ringing.parent, "-o", tmp_path / "out", "--json")
    assert ran.code == 3
    assert [Path(row["input"]).name for row in ran.json["failed"]] == ["phone.wav"]
    assert "16000 Hz or more" in ran.json["failed"][0]["error"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["song.deshimmered.wav"]


def test_a_missing_plotting_library_is_said_first(heartopt, ringing: Path, tmp_path: Path, monkeypatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "heartopt.report.shimmer.find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    ran = heartopt("deshimmer", ringing, "-o", tmp_path / "out", "--plot")
    assert ran.code == 1
    assert "heartopt[report]" in ran.one_line_error()
    assert not (tmp_path / "out").exists()


def test_settings_from_a_file(heartopt, ringing: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("threshold: 4\nslope: 1\n")
    heartopt("deshimmer", ringing, "-o", tmp_path / "a", "--config", tmp_path / "c.yaml")
    heartopt("deshimmer", ringing, "-o", tmp_path / "b", *EAGER)
    a, b = ((tmp_path / name / "song.deshimmered.wav").read_bytes() for name in "ab")
    assert a == b
    (tmp_path / "c.yaml").write_text("treshold: 4\n")
    ran = heartopt("deshimmer", ringing, "-o", tmp_path / "c", "--config", tmp_path / "c.yaml")
    assert ran.code == 2 and "did you mean 'threshold'" in ran.err


def test_json_has_no_infinity(heartopt, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(20_000), 48_000)
    ran = heartopt("deshimmer", tmp_path / "silence.wav", "-o", tmp_path / "out", "--json")
    assert json.loads(ran.out)["files"][0]["removed_db"] is None
