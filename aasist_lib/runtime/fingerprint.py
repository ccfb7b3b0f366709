"""Fingerprints of code: the modules that compute a result, each with a hash that ignores comments and messages.

The modules are found by following imports from an entry module through the sources. A name imported from a package leads to
the module that defines it: `from aasist_lib.metrics import eer` leads to `metrics/rates.py` only. Each module's syntax tree is
hashed without comments, docstrings, error messages and print statements.
"""

from __future__ import annotations

import ast
import hashlib
import platform
import sys
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from aasist_lib.errors import AasistError

PACKAGES = ("aasist_lib", "demo_corpus")
"""The packages whose imports are followed."""
ROOT = Path(__file__).resolve().parents[2]
SHOWING = frozenset({"IPython", "ipywidgets", "jinja2", "markupsafe", "matplotlib", "seaborn", "tqdm"})
"""Installed packages that only draw or report."""
_SILENT_CALLS = {"print", "warn", "say"}


class StaleCode(AasistError, RuntimeError):
    """A source file was edited after this process loaded it, so the older code is running. The message names the file."""


class Source(NamedTuple):
    """A module: the hash of its code, and what it imports from where."""

    digest: str
    wanted: frozenset[tuple[str, str | None]]
    """Imports from the packages: (module, name or None for the whole module)."""
    exported: dict[str, tuple[str, str]]
    """Imported names: name -> (module, name there)."""
    installed: frozenset[str]
    """Top-level names of the installed packages that it imports."""


def code(entries: Iterable[str], leave_out: Iterable[str] = ()) -> dict[str, str]:
    """The code that computes a result: `{"losses.py": hash, "models/graph.py": hash, ...}`.

    Args:
        entries: modules from which imports are followed, such as 'aasist_lib.training'.
        leave_out: modules and packages that do not affect the result, or whose output is in the key by value.

    Raises:
        StaleCode: a module was edited after this process loaded it.
    """
    seen: dict[str, str] = {}
    avoided = tuple(leave_out)
    waiting: list[tuple[str, str | None]] = [(entry, None) for entry in entries]
    asked = set(waiting)
    while waiting:
        for module in _owners(*waiting.pop()):
            if module in seen or any(module == name or module.startswith(f"{name}.") for name in avoided):
                continue
            source = _source(module)
            seen[module] = source.digest
            new = source.wanted - asked
            asked |= new
            waiting += new
    return {_shown(module): seen[module] for module in sorted(seen)}


def code_of_text(text: str, leave_out: Iterable[str] = ()) -> dict[str, str]:
    """As `code`, for the modules that a piece of Python text imports, such as the cells of a notebook. IPython commands ('%',
    '!') are ignored.

    Raises:
        SyntaxError: the text is not Python.
    """
    plain = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in text.split("\n"))
    found: dict[str, str] = {}
    for module, name in _wanted(ast.parse(plain), "", Path()):
        for owner in _owners(module, name):
            if owner not in found:
                found |= code([owner], leave_out)
    return dict(sorted(found.items()))


def versions(files: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of the installed packages that these modules (keys of `code`) import."""
    tops = {name for file in files for name in _source(_module_of(file)).installed} - SHOWING
    owners = _distributions()
    names = {owners[top] for top in tops if top in owners}
    found = {name: metadata.version(name) for name in sorted(names)}
    return {"python": ".".join(platform.python_version_tuple()[:2]), **found}


# ---- following imports -----------------------------------------------------------------------------------------------


def _owners(module: str, name: str | None) -> list[str]:
    """The module that defines a name of `module`; `module` itself if no name is given."""
    if _file(module) is None:
        return []
    if name is None:
        return [module]
    if _file(f"{module}.{name}") is not None:
        return [f"{module}.{name}"]
    target = _source(module).exported.get(name) if _is_package(module) else None
    return _owners(*target) if target else [module]


def _wanted(tree: ast.AST, module: str, file: Path) -> frozenset[tuple[str, str | None]]:
    """What a tree imports from the packages."""
    found: set[tuple[str, str | None]] = set()
    whole: dict[str, str] = {}  # names bound to packages; only the attributes used are wanted
    for node in _executed(tree):
        for target, name, bound in _imported(node, module, file):
            inner = f"{target}.{name}" if name else target
            if _is_package(inner):
                whole[bound] = inner
            else:
                found.add((target, name))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".py"):
            beside = file.parent / node.value  # a program that is started as a process
            if "/" not in node.value and beside.is_file() and beside.is_relative_to(ROOT):
                found.add((".".join(beside.relative_to(ROOT).with_suffix("").parts), None))
    attributes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in whole:
            found.add((whole[node.value.id], node.attr))
        elif isinstance(node, ast.Name) and node.id in whole and id(node) not in attributes:
            found.add((whole[node.id], None))
    return frozenset(found)


def _imported(node: ast.AST, module: str, file: Path) -> Iterator[tuple[str, str | None, str]]:
    """(module, name or None, local name) for each import from the packages."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.split(".")[0] in PACKAGES:
                yield alias.name, None, alias.asname or alias.name.split(".")[0]
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, module, file)
        if base.split(".")[0] in PACKAGES:
            for alias in node.names:
                yield base, alias.name, alias.asname or alias.name


def _absolute(node: ast.ImportFrom, module: str, file: Path) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    up = node.level - (file.name == "__init__.py")
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes except those under `if TYPE_CHECKING`."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting += node.orelse
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


# ---- reading a module ------------------------------------------------------------------------------------------------


class _Computing(ast.NodeTransformer):
    """Removes docstrings, error messages and print statements."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:  # noqa: N802
        value = node.value
        if isinstance(value, ast.Constant):
            return None
        if isinstance(value, ast.Call):
            called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
            if called in _SILENT_CALLS:
                return None
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:  # noqa: N802
        kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=kind, cause=None)


def _source(module: str) -> Source:
    file = _file(module)
    if file is None:
        raise ValueError(f"{module}: no module of the library")
    status = file.stat()
    state = status.st_mtime_ns, status.st_size
    _refuse_stale(module, file, state)
    return _read(module, file, state)


@cache
def _read(module: str, file: Path, state: tuple[int, int]) -> Source:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    wanted = _wanted(tree, module, file)
    exported = {
        bound: (base, name) for node in tree.body for base, name, bound in _imported(node, module, file) if name is not None
    }
    installed = frozenset(_installed(tree))
    computing = _Computing().visit(tree)
    return Source(hashlib.sha256(ast.dump(computing).encode()).hexdigest()[:16], wanted, exported, installed)


_loaded: dict[str, tuple[int, tuple[int, int]]] = {}


def _refuse_stale(module: str, file: Path, state: tuple[int, int]) -> None:
    """Raise an error if the module in memory is older than its file. A reloaded module has another spec."""
    live = sys.modules.get(module)
    if live is None or Path(getattr(live, "__file__", None) or "").resolve() != file:
        return
    spec = id(live.__spec__)
    known = _loaded.setdefault(module, (spec, _at_start.get(module, state)))
    if known[0] != spec:
        _loaded[module] = spec, state
    elif known[1] != state:
        raise StaleCode(
            f"{_shown(module)} was edited after it was loaded, so the older code is running: restart the kernel "
            "(in JupyterLab: Kernel, Restart), or rerun the command"
        )


def _installed(tree: ast.AST) -> Iterator[str]:
    for node in _executed(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
        for top in {name.split(".")[0] for name in names}:
            if top not in PACKAGES and top not in sys.stdlib_module_names:
                yield top


@lru_cache(maxsize=1)
def _distributions() -> dict[str, str]:
    """Top-level name -> installed package, including single compiled files, which the standard library omits."""
    found = {}
    for package in metadata.distributions():
        for file in package.files or ():
            if len(file.parts) == 1 and file.suffix in (".so", ".pyd"):
                found[file.name.split(".")[0]] = package.metadata["Name"]
    return found | {top: names[0] for top, names in metadata.packages_distributions().items()}


@cache
def _file(module: str) -> Path | None:
    """The source file of a module, or None if there is no such module."""
    if module.split(".")[0] not in PACKAGES:
        return None
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def _is_package(module: str) -> bool:
    file = _file(module)
    return file is not None and file.name == "__init__.py"


def _shown(module: str) -> str:
    """The file as shown to the reader: 'models/graph.py'."""
    file = _file(module)
    return module if file is None else file.relative_to(ROOT).as_posix().removeprefix(f"{PACKAGES[0]}/")


def _module_of(shown: str) -> str:
    parts = Path(shown).with_suffix("").parts
    package = () if parts[0] in PACKAGES else PACKAGES[:1]
    return ".".join((*package, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _states() -> dict[str, tuple[int, int]]:
    """The state of every source when this module was loaded, before anything is computed."""
    found = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            status = file.stat()
            shown = file.relative_to(ROOT).as_posix().removeprefix(f"{PACKAGES[0]}/")
            found[_module_of(shown)] = (
                status.st_mtime_ns,
                status.st_size,
            )
    return found


_at_start = _states()
