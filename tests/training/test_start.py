from __future__ import annotations

from pathlib import Path

import pytest

from heartopt.errors import CheckpointError, ConfigError, OutputError
from heartopt.training.checkpoints import LATEST
from heartopt.training.start import find_checkpoint, remove_run


def test_a_checkpoint_is_gone_on_from_only_where_asked(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path, None, False) is None
    assert find_checkpoint(tmp_path, "auto", False) is None
    (tmp_path / LATEST).touch()
    assert find_checkpoint(tmp_path, "auto", False) == tmp_path / LATEST
    assert find_checkpoint(tmp_path / "other", tmp_path / LATEST, False) == tmp_path / LATEST
    assert find_checkpoint(tmp_path, None, True) is None
    (tmp_path / "kept.safetensors").touch()
    assert find_checkpoint(tmp_path, tmp_path / "kept.safetensors", False) == tmp_path / "kept.safetensors"
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / LATEST).touch()
    with pytest.raises(ConfigError, match="holds another training run"):
        find_checkpoint(tmp_path / "second", tmp_path / LATEST, False)
    with pytest.raises(ConfigError, match="holds a training run"):
        find_checkpoint(tmp_path, None, False)
    with pytest.raises(CheckpointError, match="no such file"):
        find_checkpoint(tmp_path, tmp_path / "gone", False)
    with pytest.raises(CheckpointError, match="no such file"):
        find_checkpoint(tmp_path, "x" * 300, False)
    assert find_checkpoint(tmp_path / ("x" * 300), "auto", False) is None


def test_what_cannot_be_deleted_is_one_error_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / LATEST).touch()
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"cannot delete .*metrics\.jsonl"):
        remove_run(tmp_path)
    assert (tmp_path / LATEST).is_file()
