"""The one family of errors that heartopt raises.

Every message is one line: what was wrong, where, and what to do about it. Only the command line prints and
exits.
"""

from __future__ import annotations

# How torch's allocators say it where they raise no error of their own for it.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class HeartoptError(Exception):
    """Anything that heartopt refuses or fails at; catch this to catch all of it."""


class AudioError(HeartoptError):
    """An audio file or tensor that cannot be read, decoded or used."""


class TokenError(HeartoptError):
    """Tokens of a wrong shape, type or range, or a token file that is damaged."""


class CodecError(HeartoptError):
    """A codec that cannot be found or loaded, or an argument that it cannot serve."""


class CheckpointError(HeartoptError):
    """A projection or training checkpoint that is missing, damaged or of another shape."""


class OutputError(HeartoptError):
    """A file or folder that cannot be written."""


class ConfigError(HeartoptError):
    """Settings that contradict each other, or a configuration file with unknown or wrong entries."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, Python's or a device's. On a CPU, torch raises a plain RuntimeError for that."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
