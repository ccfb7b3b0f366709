"""Values quoted from the paper. They are stored in one place, docs/paper.csv, with how each is known."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from aasist_lib.config.profile import ConfigError

FILE = Path(__file__).resolve().parents[2] / "docs" / "paper.csv"


@dataclass(frozen=True)
class Quoted:
    """A value of the paper: in `unit`, what it measures, and how it is known."""

    value: float
    unit: str
    what: str
    where: str
    known: str

    @property
    def verified(self) -> bool:
        """Whether it was read in the paper's abstract or published code, and not only in digests by others."""
        return "unverified" not in self.known


def paper_values() -> dict[str, Quoted]:
    """Read docs/paper.csv: key -> value.

    Raises:
        ConfigError: the file is missing or a line has no number; the message names file and line.
    """
    try:
        with FILE.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))[1:]
    except OSError as error:
        raise ConfigError(f"{FILE}: cannot be read ({error.strerror}); restore it: git checkout docs/paper.csv") from error
    found = {}
    for number, line in enumerate(lines, start=2):
        try:
            key, value, *rest = line
            found[key] = Quoted(float(value), *rest)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{FILE}, line {number}: expected six columns: key, value (a number), unit, what it measures, where, "
                f"how known ({error})"
            ) from error
    return found
