from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartopt.training.prefetch import prefetched, read_ahead


def names_of_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@settings(deadline=None, max_examples=20)
@given(
    workers=st.integers(0, 5),
    begin=st.integers(0, 5),
    waits=st.lists(st.integers(0, 3), max_size=12),
)
def test_results_come_in_order_whatever_takes_longest(workers: int, begin: int, waits: list[int]) -> None:
    def make(step: int) -> int:
        time.sleep(waits[step - begin] / 1000)
        return step * step

    steps = range(begin, begin + len(waits))
    assert list(prefetched(make, steps, workers)) == [step * step for step in steps]


def test_no_more_is_made_than_workers_ahead() -> None:
    made: list[int] = []
    ahead = prefetched(lambda step: made.append(step) or step, range(100), 3)  # type: ignore[func-returns-value]
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    ahead.close()
    assert max(made) <= 4 + 3


def test_without_workers_nothing_is_made_ahead() -> None:
    made: list[int] = []
    ahead = prefetched(lambda step: made.append(step) or step, range(9), 0)  # type: ignore[func-returns-value]
    assert next(ahead) == 0
    assert made == [0]


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_an_exception_comes_in_the_place_of_its_result(workers: int) -> None:
    def make(step: int) -> int:
        if step == 3:
            raise ValueError("step three")
        return step

    ahead = prefetched(make, range(9), workers)
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="step three"):
        next(ahead)
    assert list(ahead) == []


def test_closing_leaves_no_threads() -> None:
    ahead = prefetched(lambda step: step, range(10**9), 4)
    next(ahead)
    ahead.close()
    assert not any(name.startswith("prefetch") for name in names_of_threads())


def count(length: int, closed: list[int] | None = None) -> Iterator[int]:
    try:
        yield from range(length)
    finally:
        if closed is not None:
            closed.append(length)


@pytest.mark.parametrize("workers", [0, 1, 3, 20])
def test_sources_come_in_order_with_their_pieces(workers: int) -> None:
    lengths = [3, 0, 5, 1, 8]
    sources = [partial(count, length) for length in lengths]
    assert [list(pieces) for pieces in read_ahead(sources, workers)] == [list(range(n)) for n in lengths]
    assert "read-ahead" not in names_of_threads()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_source_may_be_left_before_its_end(workers: int) -> None:
    closed: list[int] = []
    firsts = [next(pieces) for pieces in read_ahead([partial(count, n, closed) for n in (1000, 2000, 3000)], workers)]
    assert firsts == [0, 0, 0]
    assert closed == [1000, 2000, 3000]
    assert "read-ahead" not in names_of_threads()


@pytest.mark.parametrize("workers", [0, 2])
def test_leaving_everything_closes_what_runs(workers: int) -> None:
    closed: list[int] = []
    ahead = read_ahead([partial(count, n, closed) for n in (1000, 2000, 3000, 4000)], workers)
    next(next(ahead))
    ahead.close()
    assert closed[:1] == [1000]
    assert 4000 not in closed  # was never begun
    assert "read-ahead" not in names_of_threads()


def test_a_source_waits_until_its_pieces_are_taken() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    with_second_running = read_ahead([partial(count, 1), source], 1)
    next(with_second_running)
    deadline = time.monotonic() + 5
    while len(made) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert made == [0, 1]  # one waits, one is in hand
    with_second_running.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_after_the_pieces_before_it_and_spares_other_sources(workers: int) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    seen: list[object] = []
    for pieces in read_ahead([broken, partial(count, 2)], workers):
        try:
            for piece in pieces:
                seen.append(piece)
        except ValueError as error:
            seen.append(str(error))
    assert seen == [1, "broken", 0, 1]
