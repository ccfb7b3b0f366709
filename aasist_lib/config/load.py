"""Profiles are YAML files that are validated on loading; an unknown key or an invalid value is an error that names it.

Notebooks and the command line load profiles with `load_profile("configs/demo.yaml", ["training.epochs=3"])`.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from aasist_lib.config.profile import ConfigError, Profile, project_root

_SHOWN = 300
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlevel = 2  # a few lines of YAML can expand to gigabytes


def load_profile(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Profile:
    """Read a profile and apply `section.key=value` overrides (values are YAML).

    A profile may begin with `extends: <another profile>`: it then has that profile's keys, except those it gives itself.
    It is looked up beside the file, then as `path` is.

    Args:
        path: a YAML file, or the bare name of one in `configs/` of the project.
        overrides: e.g. `["training.epochs=3", "seed=2"]`.

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value is wrong; the message names each of them.
    """
    file = _find(path)
    raw = _read(file)
    for override in overrides:
        _apply(raw, override)
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(problem, file, overrides) for problem in error.errors())) from error


def _read(file: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a profile, and of those it extends."""
    if file in extending:
        raise ConfigError(
            f"{extending[0]}: extends: {' extends '.join(f.name for f in (*extending, file))}: remove one of these"
        )
    try:
        raw = _yaml(file.read_text(encoding="utf-8-sig"), str(file)) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not a text file in UTF-8 that can be read: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{file}: a profile is a mapping of keys, not a {type(raw).__name__}")
    if names := [key for key in raw if not isinstance(key, str)]:
        raise ConfigError(f"{file}: keys are words, not {_SHORT.repr(names[0])}")
    if "extends" not in raw:
        return raw
    base = raw.pop("extends")
    if not isinstance(base, str):
        raise ConfigError(f"{file}: extends = {_SHORT.repr(base)}: name one profile")
    try:
        found = beside if (beside := file.parent / base).is_file() else _find(base)
    except ConfigError as error:
        raise ConfigError(f"{file}: extends: {error}") from error
    return _merged(_read(found, (*extending, file)), raw)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` keys over those of `base`, section by section. A list replaces a list."""
    both = {key for key in base if isinstance(base[key], dict) and isinstance(own.get(key), dict)}
    return base | own | {key: _merged(base[key], own[key]) for key in both}


class _Loader(yaml.SafeLoader):
    """Loads plain YAML types and refuses duplicate keys, of which YAML would silently drop one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As the base class, after a look at the keys."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _Twice(key.start_mark.line + 1, key.value)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Twice(yaml.YAMLError):
    """`(line, key)` of a duplicate key."""


def _yaml(text: str, name: str) -> Any:
    """The value of a YAML text; `name` names the text in errors.

    Raises:
        ConfigError: the text is not YAML, has a duplicate key, or is nested too deeply.
    """
    try:
        return yaml.load(text, _Loader)  # nosec B506  # a SafeLoader
    except _Twice as error:
        line, key = error.args
        raise ConfigError(f"{name}:{line}: the key '{key[:_SHOWN]}' is given a second time: remove one") from error
    except (yaml.YAMLError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # Values that are not of their tag, such as the dates 2026-13-45 and `!!timestamp x`, fail in any of these ways.
        raise ConfigError(f"{name}: not valid YAML: {str(error)[:_SHOWN]}") from error


def _find(path: str | Path) -> Path:
    given = Path(path)
    named = project_root() / "configs" / f"{given.name.removesuffix('.yaml')}.yaml"
    for candidate in (given, project_root() / given, named):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(p.stem for p in named.parent.glob("*.yaml")))
    raise ConfigError(f"{given}: no such profile; configs/ has {known}")


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override '{override[:_SHOWN]}' is not of the form section.key=value")
    *sections, last = key.strip().split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"override '{override[:_SHOWN]}': '{section[:_SHOWN]}' is a value, not a section")
    raw[last] = _yaml(value, f"override '{override[:_SHOWN]}'")


def _explain(problem: Any, file: Path, overrides: Sequence[str]) -> str:
    """The error with its source: the file or the command line."""
    parts = [str(part) for part in problem["loc"] if not str(part).startswith("function")]
    key = ".".join(parts)
    said = (override for override in overrides if f"{override.partition('=')[0].strip()}.".startswith(f"{key}.") and key)
    origin = next((f"--set {override[:_SHOWN]}" for override in said), str(file))
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(parts[-1], _keys(parts[:-1]), n=1)
        hint = f"; did you mean '{'.'.join([*parts[:-1], *close])}'?" if close else ""
        return f"{origin}: unknown key '{key}'{hint}"
    return f"{origin}: '{key}' = {_SHORT.repr(problem['input'])}: {problem['msg']}" if key else f"{origin}: {problem['msg']}"


def _keys(sections: Sequence[str]) -> list[str]:
    """The keys that a section may have; none if it is not a section."""
    model: Any = Profile
    for section in sections:
        field = getattr(model, "model_fields", {}).get(section)
        model = None if field is None else field.annotation
    return list(getattr(model, "model_fields", {}))
