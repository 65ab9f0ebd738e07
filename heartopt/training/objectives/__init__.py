"""What a projection is trained on: objectives that give named terms, and the weights that make a loss of them."""

from heartopt.training.objectives.choice import Choice, choose
from heartopt.training.objectives.flow import flow_losses
from heartopt.training.objectives.mixture import objective_terms, term_weights
from heartopt.training.objectives.terms import Terms, code_counts, weighted
from heartopt.training.settings import OBJECTIVES, parse_objective

__all__ = [
    "OBJECTIVES",
    "Choice",
    "Terms",
    "choose",
    "code_counts",
    "flow_losses",
    "objective_terms",
    "parse_objective",
    "term_weights",
    "weighted",
]
