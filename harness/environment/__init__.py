"""The environment of a run (code, package versions, processor), which may change its result. Imports no torch."""

import ast
import functools
import hashlib
import importlib.metadata
import inspect
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CODE = ("augmentation", "data", "training")
"""Packages of the harness whose code decides what a run computes. A model's own code has a separate digest."""


CODE_ROOT = Path(__file__).resolve().parents[2]
"""The folder that contains the imported packages: a repository, or an environment's site-packages."""


def project() -> Path:
    """The folder of experiments, runs, data and reports: the repository if the working folder lies in it, else the
    working folder."""
    here = Path.cwd()
    return CODE_ROOT if here.is_relative_to(CODE_ROOT) else here


def code_of(root: Path) -> Path:
    """The folder that contains a project's code: the project itself, or else the installed packages."""
    return root if (root / "harness").is_dir() else CODE_ROOT


@dataclass(frozen=True)
class Machine:
    """What "auto" resolves to on this machine: torch device name, bf16 in hardware or not, number of CPU threads."""

    device: str
    bf16: bool
    threads: int


def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor by their Linux names; empty on other systems."""
    return frozenset(_cpuinfo("flags").split())


def processor() -> str:
    """The name of the processor."""
    return _cpuinfo("model name") or platform.processor()


def _cpuinfo(field: str) -> str:
    """A field of the first core in /proc/cpuinfo; "" on systems without that file."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def provenance(root: Path, packages: Iterable[str]) -> dict[str, Any]:
    """The environment to record: commit, dirty flag and digest of the code; versions of Python and of the named
    packages; system and processor."""
    return {
        **code_at_start(root),
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": processor(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Differences between two recorded environments, with packages by name: {"torch": ("2.11.0", "2.14.1")}.

    A field that only one of them records does not count as a difference.
    """
    old, new = (
        {k: v for k, v in seen.items() if k != "versions"} | dict(seen.get("versions", {})) for seen in (before, now)
    )
    return {name: (value, new[name]) for name, value in old.items() if name in new and value != new[name]}


@functools.cache
def code_at_start(root: Path) -> dict[str, Any]:
    """Commit, dirty flag and digest of the code at the process's first call, since files may be edited later."""
    code = code_of(root)
    return {
        "commit": _git(root, "rev-parse", "HEAD"),
        "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no")),
        "code": source_digest(code, sorted(p for name in CODE for p in (code / "harness" / name).rglob("*.py"))),
    }


@functools.cache
def builder_digest(builder: Callable[..., Any]) -> str:
    """Digest of the file that defines a model's builder and of the files of the same package that it imports.

    Builders in experiment files or in packages outside the repository are covered too, with what they import from
    `models/`. For a builder named `package/architecture` (torchvision, timm) the package's version is prepended.
    """
    package, published, _ = builder.__name__.partition("/")
    version = f"{package} {importlib.metadata.version(package)}, " if published else ""
    found: dict[str, Path] = {}
    code = getattr(inspect.unwrap(builder), "__code__", None)
    own = Path(code.co_filename if code else sys.modules[builder.__module__].__file__ or "")
    waiting = [(builder.__module__, own)]
    while waiting:
        name, path = waiting.pop()
        if name in found or path.suffix != ".py":
            continue
        found[name] = path
        waiting += _imported(name, path)
    names = sorted(found)
    return version + _digest([(name, found[name]) for name in names])


def _imported(name: str, path: Path) -> Iterable[tuple[str, Path]]:
    """The loaded modules, in the same top-level package or in `models`, that a module's source imports from.

    A name re-exported by a package counts as an import from the module that defines it.
    """
    tops = {name.partition(".")[0], "models"}
    package = name.split(".")[: None if path.name == "__init__.py" else -1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        named: list[str] = []
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            gathered = [getattr(sys.modules.get(module), alias.name, None) for alias in node.names]
            homes = [str(getattr(value, "__module__", "")) for value in gathered]
            named = [module, *(f"{module}.{alias.name}" for alias in node.names), *homes]
        for each in named:
            file = getattr(sys.modules.get(each), "__file__", None)
            if each.partition(".")[0] in tops and file and _defines(Path(file)):
                yield each, Path(file)


def _defines(path: Path) -> bool:
    """True if a file defines functions or classes; an `__init__.py` that only re-exports does not count."""
    return path.name != "__init__.py" or any(
        isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.parse(path.read_bytes()).body
    )


def source_digest(root: Path, files: Iterable[Path]) -> str:
    """The first twelve digits of the SHA-256 of Python files and their paths below root; see `_digest`."""
    return _digest([(path.relative_to(root).as_posix(), path) for path in files])


def _digest(named: Iterable[tuple[str, Path]]) -> str:
    """Digest of the files' syntax trees: comments, docstrings and formatting do not change it."""
    sha = hashlib.sha256()
    for name, path in named:
        sha.update(name.encode() + b"\0" + _normal_form(path.read_bytes()).encode() + b"\0")
    return sha.hexdigest()[:12]


def _normal_form(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):  # a string statement is a docstring or documents the field above it
            node.body = [each for each in body if not _is_text(each)] or [ast.Pass()]  # pyright: ignore[reportAttributeAccessIssue]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
