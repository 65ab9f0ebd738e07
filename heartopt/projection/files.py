"""Projections as files: safetensors with a card beside them, or the training report's checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from heartopt.codec.embedded import EMBEDDED, embedded_folder
from heartopt.errors import CheckpointError
from heartopt.files import atomic_path, plain, write_json
from heartopt.projection.network import EncoderProjection
from heartopt.projection.report_checkpoint import REPORT_SUFFIXES, read_report_checkpoint
from heartopt.projection.restoring import restored

if TYPE_CHECKING:
    from heartopt.codec.model import HeartCodec

SETTINGS_KEY = "heartopt_projection"
CARD_KEY = "heartopt_card"


def save_projection(projection: EncoderProjection, path: str | Path, card: dict[str, Any]) -> None:
    """Write ``path`` (safetensors with settings and card inside) and a copy of the card as JSON beside it, atomically.

    ``card["fingerprint"]`` names the codec that the projection was trained for.
    """
    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in projection.state_dict().items()}
    header = {"format": "pt", SETTINGS_KEY: json.dumps(projection.settings), CARD_KEY: json.dumps(plain(card))}
    # Serialized in memory: a full disk is then an OSError like any other, not an error of the library's own.
    data = save(tensors, metadata=header)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    write_json(path.with_suffix(".json"), {"projection": projection.settings, **card})


def load_projection(path: str | Path) -> EncoderProjection:
    """Read a projection in eval mode from heartopt's safetensors or from a report's ``.pt`` checkpoint.

    Of a ``.pt``, the report's own or one that heartopt wrote for its scripts, see `read_report_checkpoint`.

    Raises:
        CheckpointError: missing, damaged, unsafe, or of a layout that heartopt does not know.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"projection {path}: no such file")
    if path.suffix in REPORT_SUFFIXES:
        return read_report_checkpoint(path).projection
    state, settings, fingerprint = _read_safetensors(path)
    return restored(path, settings, state, fingerprint)


def default_projection(codec: HeartCodec) -> EncoderProjection:
    """The projection that heartopt ships for ``codec``.

    Raises:
        CheckpointError: there is none; train one or name one.
    """
    path = embedded_folder() / "projection.safetensors"
    if codec.name != EMBEDDED:
        raise CheckpointError(
            f"codec {codec.name}: heartopt ships no projection for it; name one with --projection, or train one"
        )
    return load_projection(path).to(codec.scalar_device)


def check_fits(projection: EncoderProjection, codec: HeartCodec) -> None:
    """Refuse a projection that was trained for another codec, or whose widths are not the codec's.

    Raises:
        CheckpointError: naming both.
    """
    made_for = projection.codec_fingerprint
    if made_for is not None and made_for != codec.fingerprint():
        raise CheckpointError(
            f"projection was trained for the codec {made_for[:12]}, this is {codec.name} ({codec.fingerprint()[:12]}): "
            "its codes would mean nothing to it"
        )
    width, latents = codec.config.dim, codec.config.latent_hidden_dim
    if projection.output_dim != width:
        raise CheckpointError(f"projection makes features of width {projection.output_dim}, the codec takes {width}")
    if projection.latent_dim not in (latents, 2 * latents):
        raise CheckpointError(
            f"projection takes latents {projection.latent_dim} wide, the codec gives {latents} (mono) or {2 * latents}"
        )


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], str | None]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            settings, card = json.loads(header[SETTINGS_KEY]), json.loads(header.get(CARD_KEY, "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return state, dict(settings), dict(card).get("fingerprint")
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"projection {path}: these safetensors are not a heartopt projection") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"projection {path}: not readable as safetensors: {error}") from error
