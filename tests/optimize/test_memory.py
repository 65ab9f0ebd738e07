import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heartopt.optimize.memory import in_parts


def limited(most, sizes):
    def run(items):
        sizes.append(len(items))
        if len(items) > most:
            raise RuntimeError("CUDA out of memory")
        return 2 * items

    return run


@given(st.integers(0, 40), st.integers(1, 50))
def test_what_does_not_fit_at_once_is_done_in_parts(count, most):
    sizes = []
    items = torch.arange(count)
    assert torch.equal(in_parts(limited(most, sizes), items), 2 * items)
    assert sizes[-1] <= most


def test_it_is_said_once(caplog):
    from heartopt.optimize import memory

    memory._say_once.cache_clear()
    for _ in range(3):
        in_parts(limited(2, []), torch.arange(9))
    assert [record.getMessage() for record in caplog.records] == [memory.SMALLER]


def test_a_single_item_that_does_not_fit_and_other_errors_are_raised():
    with pytest.raises(RuntimeError, match="out of memory"):
        in_parts(limited(0, []), torch.arange(3))
    sizes = []

    def broken(items):
        sizes.append(len(items))
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes"):
        in_parts(broken, torch.arange(3))
    assert sizes == [3]
