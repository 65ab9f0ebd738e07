"""The token file contract: what is saved comes back, and anything else is refused in one line."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heartopt.errors import OutputError, TokenError
from heartopt.tokens import TokenInfo, frames_for, info_path, load_tokens, save_tokens

QUANTIZERS, CODES = 8, 1024


def info_for(frames: int) -> TokenInfo:
    return TokenInfo("mini", "ab" * 32, "mini", {"seed": 0, "steps": [1, 2]}, frames, frames / 12.5)


def some_tokens(frames: int = 5) -> Tensor:
    return torch.arange(QUANTIZERS * frames).reshape(QUANTIZERS, frames)


def load(path: Path) -> Tensor:
    return load_tokens(path, num_quantizers=QUANTIZERS, codebook_size=CODES).tokens


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "song.tokens.npy"
    save_tokens(path, some_tokens(), info_for(5))
    return path


@settings(deadline=None, max_examples=40)  # each example writes two files and flushes them to the disk
@given(data=st.data(), levels=st.integers(1, 12), frames=st.integers(1, 40), size=st.integers(1, 9000))
def test_what_is_saved_comes_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, levels: int, frames: int, size: int
) -> None:
    codes = data.draw(
        st.lists(st.integers(0, size - 1), min_size=levels * frames, max_size=levels * frames), label="codes"
    )
    samples = data.draw(st.integers(3840 * (frames - 1) + 1, 3840 * frames), label="samples")
    tokens = torch.tensor(codes).reshape(levels, frames)
    info = replace(info_for(frames), seconds=samples / 48_000)
    path = tmp_path_factory.mktemp("tokens") / "a b.tokens.npy"
    save_tokens(path, tokens, info)
    loaded = load_tokens(path, num_quantizers=levels, codebook_size=size)
    assert torch.equal(loaded.tokens, tokens)
    assert loaded.tokens.dtype == torch.int64
    assert loaded.info == info


def test_the_files_are_plain_numpy_and_json(saved: Path) -> None:
    array = np.load(saved, allow_pickle=False)
    assert array.dtype == np.int64
    assert array.shape == (QUANTIZERS, 5)
    assert array.flags.c_contiguous
    assert info_path(saved).name == "song.tokens.json"
    record = json.loads(info_path(saved).read_text())
    assert list(record) == ["codec", "fingerprint", "projection", "settings", "frames", "seconds"]
    assert sorted(path.name for path in saved.parent.iterdir()) == ["song.tokens.json", "song.tokens.npy"]


def test_tokens_that_are_a_view_are_saved_right(tmp_path: Path) -> None:
    path = tmp_path / "a.tokens.npy"
    view = some_tokens(10)[:, ::2]
    save_tokens(path, view, info_for(5))
    assert torch.equal(load(path), view)


def test_tokens_without_json_load(saved: Path) -> None:
    info_path(saved).unlink()
    assert load_tokens(saved, num_quantizers=QUANTIZERS, codebook_size=CODES).info is None


def test_a_fortran_ordered_array_loads(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.asfortranarray(some_tokens().numpy()))
    assert torch.equal(load(path), some_tokens())


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(8, 5), "must be int64, not float32"),
        (torch.zeros(8, 5, dtype=torch.int32), "must be int64, not int32"),
        (torch.zeros(1, 8, 5, dtype=torch.int64), r"must be \[K, F\].*not \[1, 8, 5\]"),
        (torch.zeros(8, 0, dtype=torch.int64), "at least one frame"),
        (torch.full((8, 5), -1), "must not be negative"),
        (torch.zeros(8, 6, dtype=torch.int64), "frames is 5, but the tokens have 6"),
    ],
)
def test_saving_refuses(tmp_path: Path, tokens: Tensor, message: str) -> None:
    with pytest.raises(TokenError, match=message):
        save_tokens(tmp_path / "a.tokens.npy", tokens, info_for(5))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 0.32, 0.41])
def test_saving_refuses_seconds_that_are_not_the_frames(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(TokenError, match="seconds"):
        save_tokens(tmp_path / "a.tokens.npy", some_tokens(), replace(info_for(5), seconds=seconds))


@pytest.mark.parametrize("name", ["a.npy", "a.tokens", ".tokens.npy"])
def test_saving_refuses_another_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(TokenError, match=r"NAME\.tokens\.npy"):
        save_tokens(tmp_path / name, some_tokens(), info_for(5))


def test_saving_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_tokens(tmp_path / "file" / "a.tokens.npy", some_tokens(), info_for(5))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 5), np.float32), "must be int64, not float32"),
        (np.zeros((8, 5), np.int32), "astype"),
        (np.zeros((8, 5), ">i8"), "must be int64, not >i8"),
        (np.zeros((8, 5), bool), "must be int64, not bool"),
        (np.zeros((1, 8, 5), np.int64), r"must be \[8, frames\], not \[1, 8, 5\]"),
        (np.zeros((7, 5), np.int64), r"must be \[8, frames\], not \[7, 5\]$"),
        (np.zeros((5, 8), np.int64), "transpose it"),
        (np.zeros(8, np.int64), r"must be \[8, frames\], not \[8\]"),
        (np.zeros((8, 0), np.int64), "holds no frames"),
        (np.full((8, 5), 1024, np.int64), r"code 1024 \(codebook 0, frame 0\) is outside 0..1023"),
        (np.full((8, 5), -3, np.int64), "code -3 .* another codec"),
    ],
)
def test_loading_refuses_another_array(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "a.tokens.npy"
    np.save(path, array)
    with pytest.raises(TokenError, match=message):
        load(path)


def test_loading_names_the_first_code_out_of_range(tmp_path: Path) -> None:
    array = np.zeros((8, 5), np.int64)
    array[2, 3] = 5000
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(TokenError, match=r"code 5000 \(codebook 2, frame 3\)"):
        load(tmp_path / "a.npy")


class Mischief:
    """Would make a file if it were unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("form", ["npy", "pickle", "torch"])
def test_nothing_is_unpickled(tmp_path: Path, form: str) -> None:
    path, trace = tmp_path / "a.tokens.npy", tmp_path / "trace"
    content = np.array([Mischief(trace)], dtype=object)
    if form == "npy":
        np.save(path, content, allow_pickle=True)
    elif form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(some_tokens(), path)
    with pytest.raises(TokenError, match=r"not a whole \.npy array"):
        load(path)
    assert not trace.exists()


def test_missing_empty_text_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="no such token file"):
        load(tmp_path / "none.npy")
    with pytest.raises(TokenError, match="is a folder"):
        load(tmp_path)
    path = tmp_path / "a.tokens.npy"
    for content in (b"", b"hello, I am text\n" * 20, b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(TokenError, match=r"not a whole \.npy array"):
            load(path)


@settings(deadline=None)
@given(keep=st.integers(0, 10_000))
def test_every_truncation_is_refused(tmp_path_factory: pytest.TempPathFactory, keep: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.npy"
    np.save(path, some_tokens().numpy())
    whole = path.read_bytes()
    path.write_bytes(whole[: keep % len(whole)])
    with pytest.raises(TokenError) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(position=st.integers(0, 127), value=st.integers(0, 255))
def test_a_damaged_header_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("damage") / "a.npy"
    np.save(path, some_tokens().numpy())
    content = bytearray(path.read_bytes())
    content[position] = value
    path.write_bytes(content)
    try:
        tokens = load(path)
    except TokenError as error:
        assert "\n" not in str(error)
    else:
        assert tokens.shape[0] == QUANTIZERS
        assert int(tokens.min()) >= 0
        assert int(tokens.max()) < CODES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 6}, "frames is 6, but the tokens have 5; delete it"),
        ({"frames": True}, "'frames' is True, not int"),
        ({"seconds": 9.0}, "seconds is 9.0, but 5 frames last 0.4"),
        ({"seconds": "0.4"}, "'seconds' is '0.4'"),
        ({"codec": 3}, "'codec' is 3, not str"),
        ({"projection": 3}, "'projection' is 3"),
        ({"settings": []}, "'settings'"),
    ],
)
def test_a_json_that_contradicts_is_refused(saved: Path, change: dict[str, object], message: str) -> None:
    record = json.loads(info_path(saved).read_text())
    info_path(saved).write_text(json.dumps(record | change))
    with pytest.raises(TokenError, match=message):
        load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"codec": "mini"}', "\xff", "[" * 100_000])
def test_a_damaged_json_is_refused(saved: Path, text: str) -> None:
    info_path(saved).write_text(text, encoding="latin-1")
    with pytest.raises(TokenError, match=r"song\.tokens\.json") as caught:
        load(saved)
    assert "\n" not in str(caught.value)


@given(samples=st.integers(0, 10**15))
def test_frames_for_is_the_ceiling_in_exact_arithmetic(samples: int) -> None:
    assert frames_for(samples) == ceil(Fraction(25, 2) * samples / 48_000)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (3840, 1), (3841, 2), (48_000, 13), (480, 1)])
def test_frames_for_small_cases(samples: int, frames: int) -> None:
    assert frames_for(samples) == frames


def test_a_negative_number_of_samples_is_refused() -> None:
    with pytest.raises(TokenError, match="negative"):
        frames_for(-1)
