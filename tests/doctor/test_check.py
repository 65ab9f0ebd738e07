"""Words: bounded lists, one-line reasons, names that a terminal would obey."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartopt.doctor.check import SHOWN, Check, Examples, attempt, in_bytes, length, printable, reason, shown
from heartopt.errors import AudioError


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, ""), (1, "n0"), (3, "n0; n1; n2"), (4, "n0; n1; n2; and 1 more"), (9, "n0; n1; n2; and 6 more")],
)
def test_examples_are_the_first_few_and_how_many_more(count: int, text: str) -> None:
    assert SHOWN == 3
    examples = Examples()
    for number in range(count):
        examples.add(f"n{number}")
    assert (examples.count, str(examples)) == (count, text)


def test_what_stops_a_check_is_its_finding() -> None:
    def fail() -> Check:
        raise FileNotFoundError(2, "No such file or directory", "there")

    assert attempt("disk", "buy one", fail) == Check("disk", "failed", "there: No such file or directory", "buy one")
    fine = Check("disk", "ok", "fine")
    assert attempt("disk", "buy one", lambda: fine) is fine


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (AudioError("song.wav:\n too short"), "song.wav: too short"),
        (RuntimeError("CUDA error: no kernel\nCompile with …"), "RuntimeError: CUDA error: no kernel"),
        (ValueError(), "ValueError"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
    ],
)
def test_reasons_are_one_line(error: Exception, text: str) -> None:
    assert reason(error) == text


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_what_is_shown_can_be_printed(text: str) -> None:
    safe = printable(text)
    assert safe.isprintable()
    safe.encode("utf-8")  # raises where half a surrogate pair is left
    if text.isprintable():
        assert safe == text


def test_paths_are_shown_below_their_folder() -> None:
    assert shown(Path("songs/a/b.wav"), Path("songs")) == "a/b.wav"
    assert shown(Path("elsewhere/b\x1b[31m.wav"), Path("songs")) == r"elsewhere/b\x1b[31m.wav"


def test_sizes_and_lengths() -> None:
    assert [in_bytes(count) for count in (0, 4e6, 999e6, 1e9, 8.36e9)] == ["0 MB", "4 MB", "999 MB", "1.0 GB", "8.4 GB"]
    assert [length(seconds) for seconds in (5, 90, 7200, 3.6e6)] == ["5.0 s", "1.5 min", "2.00 h", "1,000.00 h"]
