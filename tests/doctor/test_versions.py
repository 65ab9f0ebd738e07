"""Requirements that are met or not, and a torchaudio that does not fit its torch."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from importlib.util import find_spec

import pytest
import torch
import torchaudio

from heartopt.doctor import versions as module
from heartopt.doctor.versions import heartopt_loads, installed, optional_packages, torch_loads, unmet, versions
from heartopt.version import __version__


def test_versions_name_what_a_bug_report_needs() -> None:
    check = versions()
    assert (check.status, check.remedy) == ("ok", "")
    for name in ("torch", "torchaudio", "transformers", "vector-quantize-pytorch"):
        assert f"{name} {metadata.version(name)}" in check.detail
    assert f"heartopt {__version__}" in check.detail and f"Python {platform.python_version()}" in check.detail


def test_requirements_that_are_not_met_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["torch<0.1", "no-such-package-at-all", "rich>=1", "pesq>=99; extra == 'metrics'"]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    assert unmet() == [f"torch {installed('torch')} is not <0.1", "no-such-package-at-all is not installed"]
    check = versions()
    assert check.status == "failed"
    assert "no-such-package-at-all is not installed" in check.detail and "pip install" in check.remedy


def test_a_checkout_that_is_not_installed_asks_for_the_main_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    assert unmet() == []
    monkeypatch.setattr(module, "MAIN", ("torch", "no-such-package-at-all"))
    assert unmet() == ["no-such-package-at-all is not installed"]


def test_torch_and_torchaudio_load() -> None:
    check = torch_loads()
    assert check.status == "ok"
    assert ("CUDA " + str(torch.version.cuda) if torch.version.cuda else "no CUDA") in check.detail


def test_a_torchaudio_that_does_not_load_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio", None)  # importing it raises ImportError
    check = torch_loads()
    assert check.status == "failed"
    assert "do not load" in check.detail and "same CUDA version" in check.remedy


def test_a_torchaudio_of_another_cuda_fails_as_it_says_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise RuntimeError("Detected that PyTorch and TorchAudio were compiled with different CUDA versions.\nmore")

    monkeypatch.setattr(torchaudio.functional, "resample", refuse)
    check = torch_loads()
    assert check.status == "failed"
    assert check.detail.endswith("different CUDA versions.")


@pytest.mark.parametrize(
    ("builds", "status"), [(("+cu130", "+cu130"), "ok"), (("+cu130", "+cpu"), "warning"), (("+cpu", ""), "ok")]
)
def test_builds_for_different_cuda_versions_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, builds: tuple[str, str], status: str
) -> None:
    monkeypatch.setattr(torch, "__version__", "2.14.1" + builds[0])
    monkeypatch.setattr(torchaudio, "__version__", "2.11.0" + builds[1])
    assert torch_loads().status == status


def test_a_damaged_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert heartopt_loads() is None
    monkeypatch.delitem(sys.modules, "heartopt.doctor.codec")
    monkeypatch.setitem(sys.modules, "heartopt.codec.embedded", None)
    check = heartopt_loads()
    assert check is not None and check.status == "failed"
    assert "heartopt.codec.embedded" in check.detail


def test_optional_packages_are_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "pesq" else find_spec("rich"))
    check = optional_packages()
    assert check.status == "ok"
    assert "pesq not installed (PESQ stays empty in tables)" in check.detail
    assert check.remedy == "if you want that: pip install pesq"
    monkeypatch.setattr(module, "find_spec", lambda name: find_spec("rich"))
    assert optional_packages().remedy == ""
