"""Which packages are here, and whether torch and torchaudio work together."""

from __future__ import annotations

import platform
from importlib import import_module, metadata
from importlib.util import find_spec

from packaging.requirements import Requirement

from heartopt.doctor.check import Check, printable, reason
from heartopt.version import __version__

MAIN = ("torch", "torchaudio", "transformers", "vector-quantize-pytorch")
INSTALL = "install what is missing or does not fit: run pip install for heartopt once more in this environment"
#: Package -> what is missing without it.
OPTIONAL = {
    "pesq": "PESQ stays empty in tables",
    "matplotlib": "no plots",
    "tensorboard": "no TensorBoard logs",
}


def installed(package: str) -> str | None:
    """The version of an installed package, None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def unmet() -> list[str]:
    """heartopt's requirements that are not met, one phrase each. Run from a checkout, heartopt states no versions."""
    try:
        wanted = [Requirement(text) for text in metadata.requires("heartopt") or ()]
    except metadata.PackageNotFoundError:
        wanted = [Requirement(name) for name in MAIN]
    phrases = []
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = installed(requirement.name)
        if version is None:
            phrases.append(f"{requirement.name} is not installed")
        elif not requirement.specifier.contains(version, prereleases=True):
            phrases.append(f"{requirement.name} {version} is not {requirement.specifier}")
    return phrases


def versions() -> Check:
    """The versions that a bug report needs; failed where heartopt's requirements are not met."""
    found = [f"heartopt {__version__}", f"Python {platform.python_version()}"]
    found += [f"{name} {installed(name) or 'not installed'}" for name in MAIN]
    detail = ", ".join(found)
    if phrases := unmet():
        return Check("versions", "failed", f"{'; '.join(phrases)} ({detail})", INSTALL)
    return Check("versions", "ok", detail)


def torch_loads() -> Check:
    """torch and torchaudio in one process: torchaudio refuses to load beside a torch of another CUDA version."""
    name = "torch and torchaudio"
    together = "install both for the same CUDA version, as https://pytorch.org/get-started tells"
    try:
        import torch
        import torchaudio

        torchaudio.functional.resample(torch.zeros(1, 441), 44_100, 48_000)
    except Exception as error:  # ImportError, OSError (a library is missing), RuntimeError (another CUDA): all the same
        return Check(name, "failed", f"they do not load: {reason(error)}", together)
    # A wheel says after the + what it was built for: cpu, cu130.
    builds = [str(module.__version__).partition("+")[2] for module in (torch, torchaudio)]
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    detail = f"both load and resample; torch is built for {cuda}"
    if all(builds) and builds[0] != builds[1]:
        return Check(name, "warning", f"{detail}, torchaudio for {printable(builds[1])}", together)
    return Check(name, "ok", detail)


def heartopt_loads() -> Check | None:
    """A failed check where heartopt itself cannot be imported, as where a package that it needs is damaged."""
    try:
        import_module("heartopt.doctor.data")  # which takes all of training with it
        import_module("heartopt.doctor.codec")
    except Exception as error:  # as above
        return Check("heartopt", "failed", f"it does not load: {reason(error)}", INSTALL)
    return None


def optional_packages() -> Check:
    """A note, never a warning: heartopt does without each of them."""
    found, missing = [], []
    for package, loss in OPTIONAL.items():
        if find_spec(package) is None:
            missing.append(f"{package} not installed ({loss})")
        else:
            found.append(f"{package} {installed(package) or 'of unknown version'}")
    names = [package for package in OPTIONAL if find_spec(package) is None]
    remedy = f"if you want that: pip install {' '.join(names)}" if names else ""
    return Check("optional packages", "ok", ", ".join(found + missing), remedy)
