"""Systems: what turns a song into tokens, or straight into audio, and is judged by the result."""

from heartopt.evaluation.systems.base import Decoding, Output, Place, Setup, Subject, System
from heartopt.evaluation.systems.controls import CONTROLS
from heartopt.evaluation.systems.custom import GivenSong
from heartopt.evaluation.systems.specs import (
    FORMS,
    NEED_PROJECTION,
    SYSTEMS,
    SystemSpec,
    check_systems,
    default_systems,
)

#: The system that others are held against, unless another is chosen.
BASELINE = "projection"

__all__ = [
    "BASELINE",
    "CONTROLS",
    "FORMS",
    "NEED_PROJECTION",
    "SYSTEMS",
    "Decoding",
    "GivenSong",
    "Output",
    "Place",
    "Setup",
    "Subject",
    "System",
    "SystemSpec",
    "check_systems",
    "default_systems",
]
