"""How a run begins: anew, from another projection, or where a checkpoint left off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import torch

from heartopt.codec import HeartCodec
from heartopt.errors import CheckpointError, ConfigError, OutputError
from heartopt.projection import EncoderProjection, check_fits, load_projection
from heartopt.projection.network import LatentKind, ProjectionType
from heartopt.projection.report_checkpoint import REPORT_SUFFIXES, read_report_checkpoint
from heartopt.seeding import keyed_generator
from heartopt.training.checkpoints import EPOCH_PATTERN, LATEST, restore_state
from heartopt.training.initialize import start_at_codebooks
from heartopt.training.loop import Source, TrainState, make_optimizer, make_scaler
from heartopt.training.model import BypassDecoder, Trained
from heartopt.training.outputs import BEST, BEST_BY_STFT, BEST_FOR_REPORT, CURVES
from heartopt.training.settings import TrainSettings
from heartopt.training.tensorboard import FOLDER as BOARD
from heartopt.training.watch import LOGGER, METRICS

#: Crops that the codebook start looks at, however they are batched.
START_CROPS = 32
#: Starts that are not the path of a projection.
STARTS = ("codebook", "random")


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
        if not os.path.isfile(path):  # pathlib's own raises where a name is too long, or a folder may not be read
            raise CheckpointError(f"{path}: no such file to resume from")
        if os.path.isfile(latest) and path.parent.resolve() != output_dir.resolve():
            raise ConfigError(f"{output_dir} holds another training run: resume it with auto, or choose another folder")
        return path
    if not os.path.isfile(latest):
        return None
    if resume is None and not overwrite:
        raise ConfigError(
            f"{output_dir} holds a training run: go on with --resume auto, start anew with --overwrite, "
            "or choose another folder"
        )
    return None if overwrite else latest


def remove_run(output_dir: Path) -> None:
    """Delete what an earlier run left in `output_dir`, the log and its decoded clips excepted. Raises OutputError.

    The checkpoint goes last: if something fails before, the old run can still be resumed.
    """
    weights = [output_dir / BEST, output_dir / BEST_BY_STFT, *output_dir.glob(EPOCH_PATTERN), output_dir / LATEST]
    paths = [output_dir / METRICS, output_dir / CURVES, output_dir / BEST_FOR_REPORT]
    paths += (output_dir / BOARD).glob("events.out.tfevents.*")
    for path in (*paths, *(file for weight in weights for file in (weight.with_suffix(".json"), weight))):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot delete {path}: {error.strerror or error}") from error


def start_state(
    settings: TrainSettings,
    codec: HeartCodec,
    source: Source,
    checkpoint: Path | None,
    songs: str,
    device: torch.device,
) -> TrainState:
    """A new state on `device`, or that of `checkpoint`. `songs`: a digest of what is trained on.

    A checkpoint of the training report's scripts (`.pt`) gives its weights and its place in the run; the optimizer's
    averages begin anew.

    Raises:
        CheckpointError: `checkpoint`, or the projection that `settings.init` names, cannot be read or does not fit.
    """
    state = new_state(settings, codec, device)
    if checkpoint is None:
        initialize(state.projection, settings, codec, source)
    elif checkpoint.suffix in REPORT_SUFFIXES:
        state.step = min(settings.steps, _resume_report(checkpoint, state, settings, codec, source))
    else:
        for change in restore_state(checkpoint, state, settings=settings, codec=codec, songs=songs):
            LOGGER.warning("resumed, but %s", change)
    if checkpoint is not None:
        LOGGER.info("resumed from %s after step %d", checkpoint, state.step)
    return state


def check_network(settings: TrainSettings, codec: HeartCodec) -> None:
    """Refuse widths that the type of projection cannot have, without making it. Raises ConfigError."""
    try:
        with torch.device("meta"):
            _network(settings, codec)
    except CheckpointError as error:
        raise ConfigError(str(error)) from error


def _network(settings: TrainSettings, codec: HeartCodec) -> EncoderProjection:
    return EncoderProjection(
        settings.latent_dim,
        codec.config.dim,
        settings.hidden_dim,
        projection_type=cast(ProjectionType, settings.projection_type),
        latents=cast(LatentKind, settings.latents),
    )


def new_state(settings: TrainSettings, codec: HeartCodec, device: torch.device) -> TrainState:
    """Fresh weights, which follow from the seed alone; the caller's random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_generator(settings.seed, "weights").initial_seed())
        projection = _network(settings, codec)
        decoder = BypassDecoder(codec.config.dim, settings.latent_dim) if "bypass" in settings.objective else None
    model = Trained(projection, decoder).to(device)
    usage = torch.zeros(codec.config.num_quantizers, codec.config.codebook_size)
    scaler = make_scaler(device, settings, next(codec.flow_matching.estimator.parameters()).dtype)
    return TrainState(model, make_optimizer(model, settings), scaler, usage)


def initialize(projection: EncoderProjection, settings: TrainSettings, codec: HeartCodec, source: Source) -> None:
    """Set the weights of a new run's `projection` as `settings.init` says. Raises CheckpointError."""
    if settings.init == "codebook":
        device = projection.device
        crops = range(START_CROPS)
        parts = (crops[first : first + settings.batch_size] for first in range(0, START_CROPS, settings.batch_size))
        start_at_codebooks(projection, codec, (source.crops.batch(part).to(device) for part in parts))
    elif settings.init not in STARTS:
        given = load_projection(settings.init)
        check_fits(given, codec)
        _copy_weights(given, projection, settings.init)
        LOGGER.info("started from %s", settings.init)


def _resume_report(
    path: Path, state: TrainState, settings: TrainSettings, codec: HeartCodec, source: Source
) -> int:
    """Take over the weights of a report's checkpoint; returns the step that its epochs come to."""
    report = read_report_checkpoint(path)
    check_fits(report.projection, codec)
    _copy_weights(report.projection, state.projection, path)
    LOGGER.warning("resumed from a checkpoint of the training report: the optimizer's averages begin anew")
    epochs = 0 if report.epoch is None else report.epoch + 1
    return round(epochs * len(source.crops) / source.global_batch(settings))


def _copy_weights(given: EncoderProjection, projection: EncoderProjection, path: str | Path) -> None:
    wanted = {"projection_type": "--projection-type", "hidden_dim": "--hidden-dim", "latent_dim": "--latent-dim"}
    for name, flag in {**wanted, "latents": "--latents"}.items():
        has, asked = getattr(given, name), getattr(projection, name)
        if has != asked:
            raise CheckpointError(f"{path}: its {name} is {has}, not {asked}; give {flag} {str(has).replace('_', '-')}")
    projection.load_state_dict(given.state_dict())

