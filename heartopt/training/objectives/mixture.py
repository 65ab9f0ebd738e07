"""A run's loss: the terms of its objectives, of what they share, and their weights."""

from __future__ import annotations

from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError
from heartopt.training.crops import Batch
from heartopt.training.draws import Draws
from heartopt.training.model import Trained
from heartopt.training.objectives.bypass import bypass_terms
from heartopt.training.objectives.choice import Choice, choose
from heartopt.training.objectives.distill import distill_losses
from heartopt.training.objectives.flow import flow_losses
from heartopt.training.objectives.listening import listening_weights
from heartopt.training.objectives.ode import ode_terms
from heartopt.training.objectives.terms import Terms, item_means
from heartopt.training.settings import LISTENING, TrainSettings


def term_weights(settings: TrainSettings) -> dict[str, float]:
    """The weight of each term in the loss: an objective's own terms times its weight in the mixture."""
    weights: dict[str, float] = {}
    for name, weight in settings.objective.items():
        if name in LISTENING:
            weights |= {f"{name}_{form}": weight * own for form, own in listening_weights(settings).items()}
        else:
            weights[name] = weight
    weights |= {"commitment": settings.commitment_weight, "l2": settings.l2_weight}
    if settings.quantize.kind == "gumbel":
        weights["entropy"] = settings.quantize.entropy_weight
    return weights


def objective_terms(
    model: Trained,
    codec: HeartCodec,
    batch: Batch,
    draws: Draws,
    *,
    settings: TrainSettings,
    progress: float = 0.0,
    usage: Tensor | None = None,
) -> Terms:
    """The terms that `term_weights(settings)` names, on `batch`.

    `flow`, `distill`: the means of `flow_losses` and `distill_losses`; `bypass_…` and `ode_…`: their audio losses (see
    `FORMS`); `commitment`: draws `e` towards its codes, so that the straight-through gradient stays honest; `l2`: the
    mean square of the projection's features; `entropy` (gumbel): the lack of it.

    Args:
        draws: of `step_draws` with the same settings.
        progress: of the run, 0 to 1.
        usage: counts of each code so far `[K, V]`, for the quantizer's pressure on rarely used codes.
    """
    choice = choose(
        model.projection,
        codec,
        batch,
        quantize=settings.quantize,
        progress=progress,
        noise=draws.quantizer,
        usage=usage,
    )
    terms: dict[str, Tensor] = {}
    for name in settings.objective:
        terms |= _own_terms(name, model, codec, batch, draws, choice, settings)
    terms["commitment"] = item_means(choice.commitment, choice.real).mean()
    terms["l2"] = item_means(choice.features.square().mean(-1), choice.real).mean()
    if choice.entropy_lack is not None:
        terms["entropy"] = choice.entropy_lack.mean()
    return Terms(terms, choice.codes, choice.real)


def _own_terms(
    name: str,
    model: Trained,
    codec: HeartCodec,
    batch: Batch,
    draws: Draws,
    choice: Choice,
    settings: TrainSettings,
) -> dict[str, Tensor]:
    """The terms of one objective, by their full names."""
    flow = codec.flow_matching
    if name == "flow":
        return {name: flow_losses(codec, batch, flow.condition_from(choice.vectors), draws).mean()}
    if name == "distill":
        if batch.tokens is None:
            raise ConfigError("the objective distill needs the teacher's tokens, and these songs have none")
        return {name: distill_losses(flow.codebooks, choice.e, batch.tokens, choice.real).mean()}
    weights = listening_weights(settings)
    if name == "ode":
        condition = flow.condition_from(choice.vectors)
        heard = ode_terms(codec, batch, condition, draws, weights, steps=settings.ode_steps)
    else:
        assert model.decoder is not None
        heard = bypass_terms(model.decoder, codec, batch, choice, weights)
    return {f"{name}_{form}": term for form, term in heard.items()}
