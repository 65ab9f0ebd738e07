"""Where a codec's files are, and how its tensors get into the model: strictly by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from heartopt.codec.config import HeartCodecConfig
from heartopt.codec.embedded import EMBEDDED, embedded_folder
from heartopt.errors import CodecError, ConfigError

INDEX = "model.safetensors.index.json"
TRANSFORMER = ("flow_matching.estimator.", "flow_matching.cond_feature_emb.")
LAYOUT_PREFIX = "decoder."  # the newer complete layout puts the decoder's tensors below this name


def locate(name: str | Path, *, revision: str | None = None, local_files_only: bool = False) -> Path:
    """The folder that holds a codec's ``config.json`` and safetensors: embedded, local, or fetched from the hub.

    Raises:
        CodecError: there is no such folder and no such repository, or it cannot be reached.
        ConfigError: a ``revision`` of what is not on the hub.
    """
    folder = Path(name)
    if revision is not None and (str(name) == EMBEDDED or folder.is_dir()):
        kind = "embedded" if str(name) == EMBEDDED else "a local folder"
        raise ConfigError(f"codec {name}: is {kind} and has no revision {revision}; give one for a hub id only")
    if str(name) == EMBEDDED:
        return embedded_folder()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise CodecError(f"codec {folder}: no config.json in this folder")
        return folder
    if folder.exists() or folder.is_absolute() or str(name).count("/") != 1 or str(name).startswith("."):
        raise CodecError(f'codec {name}: no such folder, and not a hub id of the form "owner/name"')
    return _download(str(name), revision=revision, local_files_only=local_files_only)


def _download(repo: str, *, revision: str | None, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    advice = "check the id's spelling, or name a local folder"
    try:
        folder = snapshot_download(
            repo,
            revision=revision,
            local_files_only=local_files_only,
            allow_patterns=["config.json", "*.safetensors", INDEX],
        )
    except LocalEntryNotFoundError as error:
        tried = "asked" if local_files_only else "reached"
        raise CodecError(f"codec {repo}: not in the local cache, and the hub was not {tried}; {advice}") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CodecError(f"codec {repo}: the hub does not give it: {reason}; {advice}") from error
    return Path(folder)


def read_config(folder: Path) -> HeartCodecConfig:
    """The config of a codec's folder.

    Raises:
        CodecError: not JSON, or of another model.
    """
    try:
        fields = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CodecError(f"codec {folder}: config.json is not readable as JSON: {error}") from error
    kind = fields.get("model_type") if isinstance(fields, dict) else None
    if kind != HeartCodecConfig.model_type:
        raise CodecError(f"codec {folder}: config.json is of model type {kind!r}, not {HeartCodecConfig.model_type!r}")
    return HeartCodecConfig(**{name: value for name, value in fields.items() if name != "model_type"})


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a codec, sharded or not.

    Raises:
        CodecError: none, a shard that the index names is missing, or the index is damaged.
    """
    index = folder / INDEX
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CodecError(f"codec {folder}: {INDEX} is not an index of shards: {error}") from error
        files = [folder / str(shard) for shard in shards]
    else:
        files = [folder / "model.safetensors"]
    for file in files:
        if not file.is_file():
            raise CodecError(f"codec {folder}: {file.name} is missing")
    return files


def read_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """A codec's tensors one after the other, sorted by the names of the model.

    Raises:
        CodecError: a file is missing or damaged.
    """
    files = weight_files(folder)
    try:
        where = {name: file for file in files for name in _names(file)}
        if any(name.startswith(LAYOUT_PREFIX) for name in where):
            where = {name: file for name, file in where.items() if name.startswith(LAYOUT_PREFIX)}
        opened: dict[Path, Any] = {}
        with ExitStack() as stack:
            for name, file in sorted(where.items()):
                if file not in opened:
                    opened[file] = stack.enter_context(safe_open(file, framework="pt"))
                yield name.removeprefix(LAYOUT_PREFIX), opened[file].get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise CodecError(f"codec {folder}: not readable as safetensors: {error}") from error


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as tensors:
        return list(tensors.keys())


def fingerprint(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over tensor names, shapes and float32 bytes, in the order given (sorted by name)."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        # Versions of the quantizer library disagree on whether a flag's shape is [] or [1].
        shape = [] if name.endswith("initted") else list(tensor.shape)
        digest.update(f"{name}{shape}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_weights(model: nn.Module, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Fill a model that stands on the ``meta`` device with the tensors of ``folder``, all of them and no others.

    ``dtype`` is that of the flow-matching transformer. All else is float32: a rounded residual VQ would choose other
    codes, a rounded ScalarModel would be heard.

    Raises:
        CodecError: a tensor is missing, unknown, or of another shape; the message names the first ones.
    """
    expected = model.state_dict()
    found: dict[str, Tensor] = {}
    unknown, misshapen = [], []
    for name, tensor in read_tensors(folder):
        target = expected.get(name)
        if target is None:
            unknown.append(name)
            continue
        if name.endswith("initted"):
            tensor = tensor.reshape(target.shape)
        if tensor.shape != target.shape:
            misshapen.append(f"{name} {list(tensor.shape)} instead of {list(target.shape)}")
            continue
        floating = dtype if name.startswith(TRANSFORMER) else torch.float32
        found[name] = tensor.to(floating if target.is_floating_point() else target.dtype)
    missing = [name for name in expected if name not in found]
    for what, names in (("of another shape", misshapen), ("missing", missing), ("unknown", unknown)):
        if names:
            raise CodecError(f"codec {folder}: {len(names)} tensors are {what}, such as {names[0]}")
    model.load_state_dict(found, strict=True, assign=True)
