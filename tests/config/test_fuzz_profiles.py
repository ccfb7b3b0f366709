"""Profiles and overrides, damaged: a whole profile, or an error that names the file or the override."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aasist_lib.config import ConfigError, Profile, load_profile, project_root
from tests.fuzzing import LONGEST_MESSAGE, NASTY, SETTINGS, damages

TINY = (project_root() / "configs" / "tiny.yaml").read_text()
LINES = [line.split(" ") for line in TINY.splitlines()]
KEYS = sorted(
    {key for key in re.findall(r"(\w+):", TINY)} | {"data.root", "model.frontend.layer", "loss.class_weights", "nothing"}
)
VALUES = (
    *("!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!binary aGk=", "!!set {a, b}", "!!timestamp x"),
    *("!!int x", "!!int", "!!float x", "!!bool x", "!!null x", "!!map x", "!!omap x", "!!pairs [1]", "2026-13-45", "!!str [a]"),
    *(
        ".nan",
        ".inf",
        "-.inf",
        "1e999",
        "-1",
        "0",
        "1.5",
        "yes",
        "null",
        "[]",
        "{}",
        "[1, [2, {a: 3}]]",
        "2026-11-23",
        "12:30:45",
    ),
    *("&a [*a]", "&a {b: *a}", "*nobody", "{[1]: 2}", "{1: 2}", "? x", "|", ">-", "%", "@", "`", "{a: 1, a: 2}", "9" * 5_000),
    *("[" * 3_000, "{a: " * 3_000, "'", '"', "- a\n- b", "a: b: c", "\t", "--- x\n--- y", "...", "!", "!!", "<<: 1"),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profiles") / "mine.yaml"


def check(named: tuple[str, ...], path: Path, overrides: tuple[str, ...] = ()) -> Profile | None:
    """What loading gives; None when it is refused with a message that has one of `named` in it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return load_profile(path, overrides)
    except ConfigError as error:
        message = str(error)
        assert any(name in message for name in named) and len(message) < LONGEST_MESSAGE, message[:LONGEST_MESSAGE]
        return None


@SETTINGS
@given(damage=damages(LINES, " "))
def test_a_damaged_profile_is_refused_by_name_or_read(file: Path, damage) -> None:
    file.write_bytes(damage.content)
    profile = check((str(file),), file)
    assert profile is not None if damage.harmless else profile is None or isinstance(profile, Profile)


@pytest.mark.parametrize("key", ["name", "seed", "training", "class_weights", "nothing"])
def test_any_value_of_a_key_is_refused_by_name_or_read(file: Path, key: str) -> None:
    for value in VALUES + NASTY:
        file.write_text(f"{key}: {value}\n" + re.sub(rf"^{key}:.*", "", TINY, flags=re.MULTILINE), newline="")
        check((str(file),), file)
        said = ("tiny.yaml", f"override '{key}={value[:50]}", f"--set {key}={value[:50]}")
        check(said, Path("tiny"), (f"{key}={value}",))


@SETTINGS
@given(
    key=st.sampled_from(KEYS) | st.text("abc._=[]0 \0é", max_size=12),
    equals=st.sampled_from(["=", "", "==", ":"]),
    value=st.sampled_from(VALUES + NASTY) | st.text(max_size=12),
)
def test_any_override_is_refused_by_name_or_taken(key: str, equals: str, value: str) -> None:
    check(("tiny.yaml", f"override '{key[:50]}", f"--set {key[:50]}"), Path("tiny"), (key + equals + value,))


def test_a_key_given_twice_is_an_error_with_its_lines(file: Path) -> None:
    file.write_text(TINY + "seed: 2\ntraining: {epochs: 9}\n")
    line = TINY.count("\n") + 2
    with pytest.raises(ConfigError, match=rf"mine.yaml:{line}: .*'training'"):
        load_profile(file)
    file.write_text("name: x\ntitle: x\ntraining:\n  epochs: 3\n  epochs: 4\n")
    with pytest.raises(ConfigError, match=r"mine.yaml:5: .*'epochs'"):
        load_profile(file)


def test_a_value_that_names_itself_and_one_that_doubles_itself_are_told_shortly(file: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefghijklmnopqrs", "bcdefghijklmnopqrst", strict=True)
    )
    for text in (bomb, "name: &a [*a]\n", "name: &a {b: *a}\n"):
        file.write_text(text)
        with pytest.raises(ConfigError) as error:
            load_profile(file)
        assert len(str(error.value)) < LONGEST_MESSAGE
    assert yaml.safe_load(bomb)["b"] == [["x", "x"]] * 2
