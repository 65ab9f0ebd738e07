from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heartopt.errors import TokenError
from heartopt.metrics.codes import agreement, code_statistics

SIZE = 5


def test_closed_forms() -> None:
    frames = 16
    codes = torch.stack(
        [
            torch.full((frames,), 7),  # one code: perplexity 1
            torch.arange(frames),  # each once: perplexity F
            torch.arange(frames) % 4,  # four, equally often
            torch.tensor([0] * 8 + [1] * 4 + [2] * 4),  # entropy 1.5 bits
        ]
    )
    found = code_statistics(codes, codebook_size=64)
    assert found.frames == 16
    assert found.used == (1, 16, 4, 3)
    assert found.dead == (63, 48, 60, 61)
    assert found.usage == pytest.approx((1 / 64, 16 / 64, 4 / 64, 3 / 64))
    assert found.entropy == pytest.approx((0, 4, 2, 1.5))
    assert found.perplexity == pytest.approx((1, 16, 4, 2**1.5))
    assert found.bitrate == pytest.approx(7.5 * 12.5)
    assert found.nominal_kbps == pytest.approx(4 * 6 * 12.5 / 1000)
    assert found.repetition == pytest.approx((1, 0, 0, 13 / 15))
    assert found.column_repetition == 0  # the second level never repeats
    assert found.novelty == pytest.approx((1 / 15, 1, 4 / 15, 5 / 15))
    assert found.column_novelty == (1, 1)


def test_equally_frequent_codes_fill_the_nominal_bitrate() -> None:
    codes = torch.stack([torch.arange(8192).roll(level) for level in range(8)])
    found = code_statistics(codes, codebook_size=8192)
    assert found.bitrate == pytest.approx(1300)  # HeartCodec's 1.3 kbit/s
    assert found.nominal_kbps == pytest.approx(1.3)


def test_a_loop_repeats_its_columns_n_grams() -> None:
    loop = torch.tensor([[0, 1, 2], [3, 3, 3]]).repeat(1, 4)  # 12 frames, three columns in turn
    found = code_statistics(loop, codebook_size=4)
    assert found.column_novelty == pytest.approx((3 / 11, 3 / 10))
    assert found.column_repetition == 0
    assert found.repetition == (0, 1)


def test_files_are_counted_together_but_not_across_their_borders() -> None:
    first, second = torch.tensor([[0, 1]]), torch.tensor([[1, 0, 1]])
    found = code_statistics([first, second], codebook_size=2)
    assert found.frames == 5
    assert found.entropy == pytest.approx((-(0.4 * math.log2(0.4) + 0.6 * math.log2(0.6)),))
    # pairs: 01 | 10 01. Across the border there would be 11 as well, and a repetition
    assert found.repetition == (0,) and found.column_repetition == 0
    assert found.novelty == pytest.approx((2 / 3,))
    assert found.column_novelty == pytest.approx((2 / 3, 1))
    assert code_statistics(torch.cat([first, second], 1), 2).repetition == (0.25,)


def test_too_short_for_pairs_is_nan() -> None:
    found = code_statistics([torch.tensor([[1]]), torch.tensor([[0]])], codebook_size=2)
    assert math.isnan(found.repetition[0]) and math.isnan(found.column_repetition)
    assert math.isnan(found.novelty[0]) and all(math.isnan(value) for value in found.column_novelty)
    assert found.entropy == (1,)


def test_metrics_name_levels_from_one_and_give_totals() -> None:
    metrics = code_statistics(torch.tensor([[0, 0], [0, 1]]), codebook_size=4).metrics()
    assert metrics["usage"] == pytest.approx(3 / 8)
    assert metrics["perplexity"] == pytest.approx(1.5)
    assert metrics["entropy"] == pytest.approx(0.5)
    assert metrics["dead"] == 3 + 2
    assert metrics["bitrate"] == pytest.approx(12.5)
    assert metrics["repetition"] == 0 and metrics["repetition_1"] == 1
    assert metrics["novelty"] == 1 and math.isnan(metrics["trigram_novelty"])
    assert metrics["usage_1"] == 0.25 and metrics["perplexity_2"] == pytest.approx(2)
    both = ("usage", "perplexity", "entropy", "dead", "repetition", "novelty")
    assert set(metrics) == {f"{name}{level}" for name in both for level in ("", "_1", "_2")} | {
        "bitrate",
        "trigram_novelty",
    }


@st.composite
def corpora(draw: st.DrawFn) -> list[Tensor]:
    levels = draw(st.integers(1, 3))
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    code = st.integers(0, SIZE - 1)
    return [
        torch.tensor(draw(st.lists(st.lists(code, min_size=n, max_size=n), min_size=levels, max_size=levels)))
        for n in lengths
    ]


@settings(max_examples=60, deadline=None)
@given(corpora())
def test_counting_by_hand_gives_the_same(files: list[Tensor]) -> None:
    found = code_statistics(files, SIZE)
    for level in range(files[0].shape[0]):
        sequences = [file[level].tolist() for file in files]
        counts = Counter(code for sequence in sequences for code in sequence)
        shares = [count / found.frames for count in counts.values()]
        assert found.used[level] == len(counts)
        assert found.entropy[level] == pytest.approx(-sum(p * math.log2(p) for p in shares), abs=1e-12)
        _same_n_grams(found.novelty[level], sequences, 2)
        _same_repetition(found.repetition[level], sequences)
    columns = [[tuple(column) for column in file.T.tolist()] for file in files]
    for n, novelty in zip((2, 3), found.column_novelty, strict=True):
        _same_n_grams(novelty, columns, n)
    _same_repetition(found.column_repetition, columns)


def _same_n_grams(found: float, sequences: list[list[object]], n: int) -> None:
    grams = [tuple(s[i : i + n]) for s in sequences for i in range(len(s) - n + 1)]
    assert found == pytest.approx(len(set(grams)) / len(grams) if grams else math.nan, nan_ok=True)


def _same_repetition(found: float, sequences: list[list[object]]) -> None:
    pairs = [pair for s in sequences for pair in pairwise(s)]
    expected = sum(a == b for a, b in pairs) / len(pairs) if pairs else math.nan
    assert found == pytest.approx(expected, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(corpora(), st.randoms(use_true_random=False))
def test_names_of_codes_and_order_of_files_do_not_matter(files: list[Tensor], random: object) -> None:
    order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(random.randrange(1000)))  # type: ignore[attr-defined]
    renamed = [order[file] for file in reversed(files)]
    before, after = (code_statistics(f, SIZE).metrics() for f in (files, renamed))
    assert after == pytest.approx(before, nan_ok=True)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), "codes must be integers"),
        (torch.zeros(2, 0, dtype=torch.int64), "at least one frame"),
        (torch.zeros(2, 3), "float32"),
        (torch.tensor([[0, 4]]), r"codes from 0 to 4 are outside 0\.\.3"),
        (torch.tensor([[-1, 2]]), "codes from -1 to 2"),
        ([], "no codes to count"),
        ([torch.tensor([[1]]), torch.tensor([[1], [2]])], "one K, not 1 and 2 levels"),
    ],
)
def test_refuses_what_are_no_codes(codes: Tensor | list[Tensor], message: str) -> None:
    with pytest.raises(TokenError, match=message):
        code_statistics(codes, codebook_size=4)


def test_agreement_is_the_share_of_equal_codes_of_each_level() -> None:
    a = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8], [1, 1, 1, 1]])
    b = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0], [2, 2, 2, 2]])
    assert agreement(a, b) == (1, 0.5, 0)
    assert agreement(a, b) == agreement(b, a)


@settings(max_examples=30, deadline=None)
@given(corpora())
def test_codes_agree_with_themselves(files: list[Tensor]) -> None:
    assert agreement(files[0], files[0].clone()) == (1,) * files[0].shape[0]


def test_agreement_refuses_two_shapes_and_what_are_no_codes() -> None:
    a = torch.zeros(2, 5, dtype=torch.int64)
    with pytest.raises(TokenError, match=r"one shape, not \[2, 5\] and \[2, 4\]; cut both"):
        agreement(a, a[:, :4])
    with pytest.raises(TokenError, match="codes must be integers"):
        agreement(a, a.float())
