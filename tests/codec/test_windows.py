import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from heartopt.codec.windows import WindowPlan, crossfade
from heartopt.errors import CodecError

UNITS = st.integers(1, 5)


def test_the_release_window_has_372_codes_and_hops_by_320():
    plan = WindowPlan.of_duration(29.76)
    assert (plan.codes, plan.hop, plan.overlap) == (372, 320, 52)


@pytest.mark.parametrize("duration", [0, -7.44, 1, 10, 29.75, 30, float("nan"), float("inf")])
def test_windows_that_are_no_multiple_of_7_44_seconds_are_refused(duration):
    with pytest.raises(CodecError, match=r"multiple of 7\.44"):
        WindowPlan.of_duration(duration)


@given(UNITS, st.integers(1, 3000))
def test_windows_cover_every_frame_once_beside_context(units, frames):
    plan = WindowPlan.of_duration(7.44 * units)
    seen = []
    for window in plan.windows(frames):
        seen += range(window.start + window.context, window.start + window.real)
        positions = window.positions(frames)
        assert positions.shape == (plan.codes,)
        assert torch.equal(positions[: window.real], torch.arange(window.start, window.start + window.real))
        assert torch.equal(window.positions(frames, 2)[::2], 2 * positions)
    assert seen == list(range(frames))


def test_the_last_codes_are_kept_where_the_reference_loses_them():
    # The reference takes 104 where it means 52, and so drops the second window of 320 + 104 codes.
    plan, frames = WindowPlan.of_duration(29.76), 320 + 104
    assert (frames - 2 * plan.overlap) % plan.hop == 0
    assert plan.count(frames) == 2
    assert list(plan.windows(frames))[-1].real == 104


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 20), st.integers(0, 80))
def test_crossfade_keeps_a_signal_that_all_blocks_agree_on(count, overlap, hop, cut):
    hop = hop + overlap  # blocks must not reach past their neighbour
    total = hop * count + overlap
    signal = torch.randn(2, total, dtype=torch.float64)
    blocks = (signal[:, i * hop : (i + 1) * hop + overlap] for i in range(count))
    length = max(1, total - cut)
    joined = torch.cat(list(crossfade(blocks, overlap, length)), dim=-1)
    assert_close(joined, signal[:, :length])


def test_crossfade_is_linear_from_one_block_to_the_next():
    joined = torch.cat(list(crossfade(iter([torch.ones(1, 8), torch.zeros(1, 8)]), 4, 12)), dim=-1)
    assert_close(joined[0], torch.tensor([1, 1, 1, 1, 1, 2 / 3, 1 / 3, 0, 0, 0, 0, 0]))
