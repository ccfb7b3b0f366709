"""Protocols put together to one table."""

from pathlib import Path

import pandas as pd
import pytest

from aasist_lib.corpora.layout import Part, assemble
from aasist_lib.corpora.table import COLUMNS, TrialTableError


def test_a_row_keeps_the_file_and_line_it_comes_from(tmp_path: Path) -> None:
    """The first and the last row of each part; the second part's heading is line 1, and row 1 of it was left out."""

    def part(ids: list[str], rows: list[int], file: str, first: int) -> Part:
        trials = pd.DataFrame("-", index=rows, columns=COLUMNS).assign(utt_id=ids, label="spoof", split="eval")
        return Part(trials.assign(path=[f"{tmp_path}/{name}.wav" for name in ids]), Path(file), first)

    parts = [part(["a", "b"], [0, 1], "train.txt", 1), part(["c", "d"], [0, 2], "eval.txt", 2)]
    with pytest.raises(TrialTableError) as error:
        assemble(parts, tmp_path)
    lines = zip(("train.txt:1", "train.txt:2", "eval.txt:2", "eval.txt:4"), "abcd", strict=True)
    shown = "".join(f"\n  {line}: {tmp_path}/{name}.wav" for line, name in lines)
    assert str(error.value).startswith(f"{tmp_path}: 4 of 4 ") and f":{shown}\n" in str(error.value)
