"""The one family of errors that heartopt raises.

Every message is one line: what was wrong, where, and what to do about it. Only the command line prints and
exits.
"""

from __future__ import annotations


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
