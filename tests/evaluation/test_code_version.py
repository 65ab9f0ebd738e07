from __future__ import annotations

from pathlib import Path

import pytest

from heartopt.evaluation import code_version
from heartopt.evaluation.code_version import measured_version, outputs_version


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of a few files in place of heartopt's."""
    for name in (
        "losses.py", "cli/main.py", "report/write.py", "metrics/mel.py", "optimize/fit.py",
        "evaluation/results.py", "evaluation/controls.py", "evaluation/systems/base.py",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1")
    monkeypatch.setattr(code_version, "_folder", lambda: tmp_path)
    return tmp_path


def versions() -> tuple[str, str]:
    outputs_version.cache_clear()
    measured_version.cache_clear()
    return outputs_version(), measured_version()


@pytest.mark.parametrize(
    ("changed", "outputs", "measured"),
    [
        ("losses.py", True, True),
        ("cli/main.py", False, False),
        ("report/write.py", False, False),
        ("metrics/mel.py", False, True),
        ("optimize/fit.py", True, False),
        ("evaluation/results.py", False, True),
        ("evaluation/controls.py", True, True),
        ("evaluation/systems/base.py", True, True),
        ("a_new_module.py", True, True),
    ],
)
def test_a_change_makes_anew_what_it_may_change(changed: str, outputs: bool, measured: bool, package: Path) -> None:
    before = versions()
    assert versions() == before
    (package / changed).write_text("x = 2")
    after = versions()
    assert (after[0] != before[0], after[1] != before[1]) == (outputs, measured)


def test_another_release_of_a_library_counts(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = versions()
    monkeypatch.setattr(code_version, "_installed", lambda library: "9" if library == "pystoi" else "1")
    one = versions()
    monkeypatch.setattr(code_version, "_installed", lambda library: "1")
    other = versions()
    assert before != one and one[0] == other[0] and one[1] != other[1]


def test_the_package_s_own_sources_are_there() -> None:
    sources = {"/".join(parts) for parts in code_version._sources()}
    assert {"losses.py", "evaluation/systems/base.py", "metrics/measuring.py"} <= sources


@pytest.fixture(autouse=True)
def _forget():
    yield
    outputs_version.cache_clear()
    measured_version.cache_clear()
