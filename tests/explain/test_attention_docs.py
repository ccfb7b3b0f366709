"""The page on attention: a row for every map, with the code's own words, and every field of `AttentionMaps`."""

import re
from dataclasses import fields
from pathlib import Path

from aasist_lib.explain.attribution import MAPS, SIGNED, UNITS
from aasist_lib.models import AttentionMaps

PAGE = (Path(__file__).parents[2] / "docs" / "attention.md").read_text(encoding="utf-8")


def test_every_map_has_its_row():
    table = PAGE.split("## List of maps")[1].split("## How the maps")[0]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (yes|no sign) \| (.*) \|$", table, re.MULTILINE)
    assert {name: text for name, _, text in rows} == MAPS
    assert {name for name, sign, _ in rows if sign == "yes"} == SIGNED
    assert list(UNITS) == list(MAPS)


def test_every_field_is_explained():
    table = PAGE.split("## Attention from a forward pass")[1].split("## List of maps")[0]
    assert all(re.search(rf"`{field.name}[`\[]", table) for field in fields(AttentionMaps))
