"""Score files and keys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib.tables import TableError, join_scores


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Four trials."""
    path = tmp_path / "key.txt"
    path.write_text("a bonafide\nb spoof\nc bonafide\nd spoof\n")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "d -1\nc 3\nb -2.5\na 1e0\n",
        "utt_id,score\nd,-1\nc, 3\nb,-2.5\na,1\n",
        "utt_id\tscore\tspeaker\nd\t-1\tx\nc\t3\tx\nb\t-2.5\tx\na\t1\tx\n",
    ],
)
def test_formats_are_told_apart_and_joined_by_id(tmp_path: Path, key: Path, text: str) -> None:
    scores = tmp_path / "scores.txt"
    scores.write_text(text)
    bonafide, spoof = join_scores(scores, key)
    np.testing.assert_array_equal(np.sort(bonafide), [1, 3])
    np.testing.assert_array_equal(np.sort(spoof), [-2.5, -1])


def test_parquet_with_more_columns(tmp_path: Path) -> None:
    table = pd.DataFrame({"utt_id": ["a", "b"], "score": [1.0, 2.0], "label": ["spoof", "bonafide"]})
    table.to_parquet(tmp_path / "t.parquet")
    bonafide, spoof = join_scores(tmp_path / "t.parquet", tmp_path / "t.parquet")
    assert (bonafide.tolist(), spoof.tolist()) == ([2.0], [1.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1\nb 2\nc 3\n", "1 ids of .*key.txt are not in .*scores.txt: d"),
        ("a 1\nb 2\nc 3\nd 4\ne 5\n", "1 ids of .*scores.txt are not in .*key.txt: e"),
        ("a 1\nb 2\nc 3\nd four\n", "1 scores are no finite numbers: d"),
        ("a 1\nb 2\nc 3\nd nan\n", "1 scores are no finite numbers: d"),
        ("a 1\na 2\nb 2\nc 3\nd 4\n", "1 ids occur more than once: a"),
        ("a - 1\nb - 2\n", "3 columns without a heading"),
        ("utt_id value\na 1\n", "no column score; it has utt_id, value"),
        ("", "not a table"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, key: Path, text: str, message: str) -> None:
    scores = tmp_path / "scores.txt"
    scores.write_text(text)
    with pytest.raises(TableError, match=message):
        join_scores(scores, key)


def test_unknown_labels_and_missing_files(tmp_path: Path, key: Path) -> None:
    scores = tmp_path / "scores.txt"
    scores.write_text("a 1\nb 2\n")
    key.write_text("a bonafide\nb fake\n")
    with pytest.raises(TableError, match="unknown labels fake; known are bonafide, spoof"):
        join_scores(scores, key)
    with pytest.raises(TableError, match="no such file"):
        join_scores(tmp_path / "none", key)
