"""The page on augmentation names every kind and codec there is, and its example is a profile's section."""

import re
from pathlib import Path

import yaml

from aasist_lib.augment.codecs import CODECS
from aasist_lib.augment.registry import TRANSFORMS
from aasist_lib.config.augmentation import AugmentationConfig, catalogue

PAGE = (Path(__file__).parents[2] / "docs" / "augmentation.md").read_text(encoding="utf-8")


def test_every_kind_and_codec_has_its_row_and_nothing_else_does():
    first = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    rows = {name for cell in first for name in re.findall(r"`([^`]+)`", cell)}
    assert rows == set(TRANSFORMS) | set(CODECS)
    assert {item.kind for item in catalogue()} | {"background"} == set(TRANSFORMS)


def test_the_ranges_named_are_those_of_the_kind():
    for item in catalogue():
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{item.kind}` |")]
        assert all(f"`{name}`" in row for name in item.limits), item.kind


def test_the_example_is_a_valid_section():
    example = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
    assert len(AugmentationConfig.model_validate(example["augmentation"]).distortions) == 3
