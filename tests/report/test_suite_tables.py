from __future__ import annotations

from dataclasses import replace

from heartopt.evaluation import Evaluation
from heartopt.report.suite_tables import code_levels, corpus_table, cost_table, level_table, song_table


def test_what_is_counted_over_the_suite(evaluation: Evaluation) -> None:
    table = corpus_table(evaluation)
    assert table is not None
    assert table.headings[:4] == ("system", "fad (↓)", "usage (share)", "perplexity (codes)")
    assert table.rows[0] == ("projection", "0.250", "0.500", "20.0", "3.00", "4", "300")
    assert table.rows[-1][:3] == ("control: silence", "9.500", "–")


def test_levels_are_those_of_systems_with_tokens(evaluation: Evaluation) -> None:
    table = level_table(evaluation)
    assert table is not None
    assert table.headings == ("system", "quantity", "level 1")
    assert table.rows[:2] == (("projection", "usage (share)", "0.500"), ("projection", "perplexity (codes)", "20.0"))
    assert {row[0] for row in table.rows} == {"projection", "optimized"}


def test_levels_are_numbers_behind_what_has_levels() -> None:
    assert code_levels([{"usage_1": 0.5, "usage_10": 0.5, "stft_512": 1.0}, {"dead_2": 3}]) == [1, 2, 10]


def test_cost_is_that_of_systems(evaluation: Evaluation) -> None:
    table = cost_table(evaluation)
    assert table is not None
    assert table.headings == ("system", "rtf (× ↓)")
    assert table.rows == (("projection", "0.500"), ("optimized", "0.500"))


def test_tables_of_nothing_are_none() -> None:
    empty = Evaluation("none", (), (), (), (), {})
    assert level_table(empty) is None and corpus_table(empty) is None and cost_table(empty) is None
    assert song_table(empty) is None


def test_songs_are_named_with_what_is_known_of_them(evaluation: Evaluation) -> None:
    songs = ({"file": "a.wav", "seconds": 8.0, "sha256": "0123456789abcdef", "licence": "CC0"}, {"file": "b.wav"})
    table = song_table(replace(evaluation, songs=songs))
    assert table is not None
    assert table.headings == ("file", "licence", "length (s)", "SHA-256 of the file")
    assert table.rows == (("a.wav", "CC0", "8.00", "0123456789ab"), ("b.wav", "–", "–", "–"))
