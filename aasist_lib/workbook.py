"""Opens the run folder for a notebook."""

from __future__ import annotations

import shlex

from aasist_lib.config import ConfigError, Profile, load_profile
from aasist_lib.runs import RunFolder


def open_notebook(profile: str, overrides: str = "") -> tuple[Profile, RunFolder]:
    """The first line of every notebook: the validated profile and its run folder.

    Args:
        profile: a name in `configs/`, or a path.
        overrides: as on the command line, separated by spaces: `"training.epochs=3 seed=2"`.
    """
    loaded = load_profile(profile, split_overrides(overrides))
    return loaded, RunFolder.open(loaded)


def split_overrides(text: str) -> list[str]:
    """`"a.b=1 title='two words'"` -> `["a.b=1", "title=two words"]`."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"SET = {text!r}: {error}") from error
