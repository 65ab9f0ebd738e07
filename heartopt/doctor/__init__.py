"""What could stop a training run, found before it starts: the training report's troubleshooting checklist."""

from heartopt.doctor.check import Check, Status
from heartopt.doctor.examine import examine

__all__ = ["Check", "Status", "examine"]
