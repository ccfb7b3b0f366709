"""docs/paper.csv is the only place with numbers of the paper."""

import re

import nbformat
import pytest

from aasist_lib.config import ConfigError, paper, paper_values
from tests.conftest import ROOT

PAGES = [file for kind in ("*.md", "*/*.md", "docs/*.csv", "configs/*") for file in ROOT.glob(kind) if file.name != "paper.csv"]
SOURCES = [file for folder in ("aasist_lib", "demo_corpus", "benchmarks", "tests") for file in ROOT.glob(f"{folder}/**/*.py")]


def texts():
    """(name, text) of every page, profile, source file and notebook."""
    for file in (file for file in [*PAGES, *SOURCES] if file.is_file()):
        yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
    for file in ROOT.glob("notebooks/*.ipynb"):
        yield file.name, "\n".join(cell.source for cell in nbformat.read(file, 4).cells)


def written(value: float) -> str:
    """A pattern for an EER in percent or as a fraction, also with fewer digits."""
    percent = {f"{value:g}", f"{value:.1f}" if value > 10 else f"{value:g}"}
    return rf"(?<![\d.])(?:(?:{'|'.join(map(re.escape, percent))})\s?%|{re.escape(f'{value / 100:.4f}'.rstrip('0'))})(?!\d)"


def test_no_eer_of_the_paper_is_written_anywhere_else():
    """The README names one, the abstract's; it must be the file's."""
    values = {key: quoted for key, quoted in paper_values().items() if key.startswith("eer_")}
    found = {
        (name, key) for name, text in texts() for key, quoted in values.items()
        if re.search(written(quoted.value), text) and "paper" in text.lower()
    }  # fmt: skip
    assert found == {("README.md", "eer_all")}


def test_every_value_says_what_it_measures_and_how_it_is_known():
    for key, quoted in paper_values().items():
        assert quoted.value > 0 and quoted.unit and quoted.what and quoted.where, key
        assert quoted.known.startswith(("abstract", "code", "digests, unverified")), key
    assert [key for key, quoted in paper_values().items() if quoted.verified] == ["eer_all", "parameters_back_end"]


@pytest.mark.parametrize("line", ["key,7.6 percent,%,a,b,c", "key,7.6,%,a,b", "key"])
def test_a_damaged_file_is_an_error_with_its_line(monkeypatch, tmp_path, line):
    file = tmp_path / "paper.csv"
    file.write_text(f"key,value,unit,what it measures,where,how known\ngood,1,%,a,b,c\n{line}\n")
    monkeypatch.setattr(paper, "FILE", file)
    with pytest.raises(ConfigError, match=r"paper\.csv, line 3"):
        paper_values()
    file.unlink()
    with pytest.raises(ConfigError, match=r"paper\.csv"):
        paper_values()
