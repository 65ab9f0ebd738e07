"""Training of encoder projections: cached latents, keyed draws, a loop of step records."""

from heartopt.training.data import Skipped, SongReady
from heartopt.training.loop import StepRecord, TrainingError
from heartopt.training.stopping import StoppedEarly
from heartopt.training.train import TrainResult, train
from heartopt.training.validation import ValidationRecord

__all__ = [
    "Skipped",
    "SongReady",
    "StepRecord",
    "StoppedEarly",
    "TrainResult",
    "TrainingError",
    "ValidationRecord",
    "train",
]
