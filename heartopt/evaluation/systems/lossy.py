"""Codecs that everybody knows as systems: MP3, Opus and AAC at a bitrate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heartopt.errors import ConfigError
from heartopt.evaluation.lossy import check_lossy, lossy_roundtrip
from heartopt.evaluation.systems.base import Output, Place, Setup, Subject, System


class Lossy(System):
    """`codec` at so many kbit/s, there and back in memory. Raises ConfigError for a bitrate that it does not have."""

    def __init__(self, codec: str, kbps: str) -> None:
        try:
            self._kbps = int(kbps)
        except ValueError:
            raise ConfigError(f"system {codec}:{kbps}: give a whole number of kbit/s, such as {codec}:64") from None
        self._codec = codec
        check_lossy(codec, self._kbps)

    def __call__(self, setup: Setup, subject: Subject) -> Output:
        audio, kbps = lossy_roundtrip(subject.target, self._codec, self._kbps)
        return Output(None, audio, kbps=kbps)

    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        return {"lossy": self._codec, "kbps": self._kbps}
