"""A batch with audio and tokens, and what an objective asks for beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.projection import EncoderProjection
from heartopt.training.crops import Batch
from heartopt.training.draws import step_draws
from heartopt.training.model import BypassDecoder, Trained
from heartopt.training.objectives import Terms, objective_terms
from heartopt.training.settings import TrainSettings

FRAMES = 8
REAL = (8, 8, 4, 8)


@pytest.fixture
def settings() -> Callable[..., TrainSettings]:
    """Settings of the tiny model, with what a test changes."""

    def make(**changed: Any) -> TrainSettings:
        arguments: dict[str, Any] = {
            "projection_type": "linear",
            "hidden_dim": 16,
            "latent_dim": 256,
            "batch_size": len(REAL),
            "frames": FRAMES,
            "steps": 10,
            "learning_rate": 1e-3,
            "warmup_steps": 0,
            "grad_clip": 0.5,
            "weight_decay": 0.0,
            "commitment_weight": 0.25,
            "init": "random",
            "seed": 0,
            "max_seconds_per_song": None,
            "ode_steps": 2,
        }
        return TrainSettings(**(arguments | changed))

    return make


@pytest.fixture
def batch(codec: HeartCodec) -> Batch:
    """Four items; the third is half filling."""
    random = torch.Generator().manual_seed(1)
    items = len(REAL)
    latents = torch.tanh(torch.randn(items, FRAMES, 256, generator=random))
    return Batch(
        latents,
        latents,
        torch.arange(FRAMES) < torch.tensor(REAL)[:, None],
        audio=0.1 * torch.randn(items, 2, FRAMES * codec.hop, generator=random),
        tokens=torch.randint(
            codec.config.codebook_size, (items, codec.config.num_quantizers, FRAMES // 2), generator=random
        ),
    )


@pytest.fixture
def model(codec: HeartCodec) -> Trained:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Trained(EncoderProjection(256, codec.config.dim, 16), BypassDecoder(codec.config.dim, 256))


@pytest.fixture
def terms_of(codec: HeartCodec, model: Trained) -> Callable[..., Terms]:
    """The terms of a batch, or of some of its items, in a step of the whole batch."""

    def make(settings: TrainSettings, batch: Batch, items: range | None = None, **options: Any) -> Terms:
        total = len(batch.real)
        items = range(total) if items is None else items
        part = Batch(**{name: value[list(items)] for name, value in vars(batch).items() if isinstance(value, Tensor)})
        draws = step_draws(settings, step=3, items=items, total=total, batch=part)
        trained = options.pop("model", model)
        return objective_terms(trained, codec, part, draws, settings=settings, **options)

    return make
