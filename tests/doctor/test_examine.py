"""All checks together: their order, what is skipped, and that nothing is left behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from heartopt.doctor import Check, examine
from heartopt.doctor import examine as exported
from heartopt.errors import ConfigError

from .conftest import CODEC, by_name

ALWAYS = ["versions", "torch and torchaudio", "optional packages", "device", "memory", "codec", "round trip"]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEARTOPT_CACHE", str(tmp_path / "cache"))


def tiny(**settings: object) -> dict[str, Check]:
    return by_name(exported(codec=str(CODEC), device="cpu", **settings))  # type: ignore[arg-type]


def test_without_folders_their_checks_are_skipped(tmp_path: Path) -> None:
    checks = examine(codec=str(CODEC), device="cpu")
    names = [check.name for check in checks]
    assert names == [*ALWAYS, "data folder", "validation folder", "cache folder", "output folder"]
    found = by_name(checks)
    assert [name for name in names if found[name].status == "skipped"] == [
        "data folder",
        "validation folder",
        "output folder",
    ]
    assert str(tmp_path / "cache") in found["cache folder"].detail
    assert list(tmp_path.iterdir()) == []


def test_with_folders_everything_is_examined_and_nothing_left_behind(make_song, tmp_path: Path) -> None:
    for seed in range(3):
        make_song(tmp_path / f"songs/{seed}.wav", seed=seed, seconds=2.0)
    make_song(tmp_path / "clips/a.wav", seed=9, seconds=4.0)
    before = sorted(tmp_path.rglob("*"))
    told: list[tuple[str, int]] = []
    checks = tiny(
        data_dir=tmp_path / "songs",
        val_dir=tmp_path / "clips",
        output_dir=tmp_path / "run",
        cache_dir=tmp_path / "latents",
        progress=lambda what, done: told.append((what, done)),
    )
    assert list(checks) == [
        *ALWAYS,
        "data folder",
        "data files",
        "data copies",
        "validation folder",
        "validation files",
        "validation overlap",
        "cache folder",
        "output folder",
    ]
    assert {check.status for check in checks.values()} <= {"ok", "warning"}
    assert "latents of these 10.0 s" in checks["cache folder"].detail
    assert str(tmp_path / "latents") in checks["cache folder"].detail
    assert sorted(tmp_path.rglob("*")) == before
    assert ("reading headers", 3) in told and ("trying the codec", 0) in told


def test_folders_that_cannot_be_written_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    checks = tiny(output_dir=tmp_path / "file/run", cache_dir=tmp_path / "file/latents")
    for name, flag in (("output folder", "--output-dir"), ("cache folder", "--cache-dir")):
        assert checks[name].status == "failed" and "is not a folder" in checks[name].detail
        assert flag in checks[name].remedy


def test_a_codec_that_does_not_load_leaves_the_other_checks(make_song, tmp_path: Path) -> None:
    make_song(tmp_path / "songs/a.wav")
    (tmp_path / "codec").mkdir()
    checks = by_name(examine(codec=str(tmp_path / "codec"), device="cpu", data_dir=tmp_path / "songs"))
    assert checks["codec"].status == "failed"
    assert checks["round trip"].status == "skipped"
    assert checks["data files"].status == "ok" and checks["cache folder"].status == "ok"


def test_a_device_that_is_not_there_fails() -> None:
    checks = by_name(examine(codec=str(CODEC), device="cuda:99"))
    assert (checks["device"].status, checks["codec"].status) == ("failed", "skipped")
    assert "cuda:99" in checks["device"].detail and "--device" in checks["device"].remedy


def test_without_torch_the_rest_is_still_examined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    checks = tiny(data_dir=tmp_path, output_dir=tmp_path)
    assert checks["torch and torchaudio"].status == "failed"
    assert {checks[name].status for name in ("device", "codec", "data folder", "cache folder")} == {"skipped"}
    assert checks["output folder"].status == "ok" and checks["memory"].status != "failed"


def test_a_revision_of_the_embedded_codec_is_wrong_usage() -> None:
    with pytest.raises(ConfigError, match="has no revision"):
        examine(revision="main")
