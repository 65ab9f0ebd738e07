"""How a run begins: anew, or where a checkpoint left off."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch

from heartopt.codec import HeartCodec
from heartopt.errors import CheckpointError, ConfigError, OutputError
from heartopt.projection import EncoderProjection
from heartopt.projection.network import ProjectionType
from heartopt.seeding import keyed_generator
from heartopt.training.checkpoints import LATEST, restore_state
from heartopt.training.crops import CropSequence
from heartopt.training.initialize import start_at_codebooks
from heartopt.training.loop import TrainState, make_optimizer
from heartopt.training.run import BEST
from heartopt.training.settings import TrainSettings
from heartopt.training.watch import LOGGER, METRICS

#: Batches of crops that the codebook start looks at.
START_BATCHES = 4


def find_checkpoint(output_dir: Path, resume: str | Path | None, overwrite: bool) -> Path | None:
    """The state to go on from, if any.

    Raises:
        ConfigError: `output_dir` holds a run, and neither `resume` nor `overwrite` says what to do.
        CheckpointError: `resume` is no file.
    """
    latest = output_dir / LATEST
    if resume is not None and overwrite:
        raise ConfigError("resume and overwrite are both given: give one of the two")
    if resume is not None and str(resume) != "auto":
        path = Path(resume)
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file to resume from")
        return path
    if not latest.is_file():
        return None
    if resume is None and not overwrite:
        raise ConfigError(
            f"{output_dir} holds a training run: go on with --resume auto, start anew with --overwrite, "
            "or choose another folder"
        )
    return None if overwrite else latest


def remove_run(output_dir: Path) -> None:
    """Delete what an earlier run left in `output_dir`, the log excepted. Raises OutputError.

    The checkpoint goes last: if something fails before, the old run can still be resumed.
    """
    best, latest = output_dir / BEST, output_dir / LATEST
    for path in (output_dir / METRICS, best, best.with_suffix(".json"), latest.with_suffix(".json"), latest):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot delete {path}: {error.strerror or error}") from error


def start_state(
    settings: TrainSettings, codec: HeartCodec, crops: CropSequence, checkpoint: Path | None, songs: str
) -> TrainState:
    """A new state, or that of `checkpoint`. `songs`: a digest of what is trained on. Raises CheckpointError."""
    device = codec.flow_matching.codebooks.device
    # The weights follow from the seed alone, and the caller's random state stays as it is.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_generator(settings.seed, "weights").initial_seed())
        projection = EncoderProjection(
            settings.latent_dim,
            codec.config.dim,
            settings.hidden_dim,
            projection_type=cast(ProjectionType, settings.projection_type),
        )
    projection.to(device)
    state = TrainState(projection, make_optimizer(projection, settings))
    if checkpoint is not None:
        for change in restore_state(checkpoint, state, settings=settings, codec=codec, songs=songs):
            LOGGER.warning("resumed, but %s", change)
        LOGGER.info("resumed from %s after step %d", checkpoint, state.step)
    elif settings.init == "codebook":
        looked_at = (crops.batch(step, settings.batch_size).to(device) for step in range(START_BATCHES))
        start_at_codebooks(projection, codec, looked_at)
    return state
