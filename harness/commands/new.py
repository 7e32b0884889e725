"""`make new`: create an experiment's file from an existing one, with a comment above every field."""

import argparse
import ast
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

from harness.plans import catalog
from harness.values import SpecError, nearest

HELP = "create an experiment's file from an existing one"
DEFAULT = "quickstart"
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_DOCSTRING = '''"""TODO: the question, and the answer that you expect.

Command: make run EXP={name}. Cost: see make plan EXP={name}. Begun as a copy of {origin}.
"""'''
_CLAIMS = ("published", "expected")
"""Fields about the results of the copied experiment, which are left out."""
COMMENTS: Mapping[str, str] = {
    "question": "One sentence; the report opens with it.",
    "base": "What all variants share. Every field and its rule: harness/plans/spec.py.",
    "variants": "Each variant: its name, and the fields in which it differs from `base`.",
    "factor": "The only fields in which variants may differ; any other difference is refused.",
    "factors": "Each field and its levels: every combination of them is a variant.",
    "tune": "Hyperparameters that are tuned first, with the same number of trials for every variant.",
    "looks": "Numbers of seeds at which UNTIL=decided looks at the results.",
    "baseline": "The variant that all others are compared with.",
    "seeds": "Each variant runs once with each of these seeds; make plan says what so many seeds can show.",
    "smallest_difference_points": "In percentage points: differences below it are taken not to matter.",
    "primary_metric": "The metric by which variants are compared.",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", metavar="EXP", help="its name: small letters, digits and underscores")
    parser.add_argument("--from", dest="origin", default="", help=f"the experiment to begin with ({DEFAULT})")


def act(chosen: argparse.Namespace, root: Path) -> int:
    """Write `experiments/<name>.py`; returns the exit status.

    Raises:
        SpecError: the name is invalid or taken, or there is no experiment to copy.
    """
    name, origin = chosen.experiment, chosen.origin or DEFAULT
    if not _NAME.fullmatch(name):
        raise SpecError(f"EXP must be small letters, digits and underscores, 64 at most; got {name!r}")
    path = root / "experiments" / f"{name}.py"
    if path.exists():
        raise SpecError(f"EXP {name!r} is there already, in {path.relative_to(root)}; choose another name")
    text = written(_source(origin, root), name, origin)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    try:
        catalog.load(name, root)
    except SpecError as error:
        path.unlink()
        raise SpecError(f"FROM {origin!r} cannot be copied: {error}") from error
    print(f"wrote {path.relative_to(root)}; edit it, then: make plan EXP={name}, make run EXP={name}")
    return 0


def _source(name: str, root: Path) -> str:
    """The source of an experiment of the project, or of an example in the installed package."""
    examples = importlib.util.find_spec("experiments")
    places = [root / "experiments", *map(Path, examples.submodule_search_locations or () if examples else ())]
    known = {path.stem: path for place in reversed(places) for path in place.glob("*.py") if _NAME.fullmatch(path.stem)}
    if name not in known:
        hint = nearest(name, known) or f"; there are {', '.join(sorted(known))}"
        raise SpecError(f"FROM must name an experiment; got {name!r}{hint}")
    return known[name].read_text(encoding="utf-8")


def written(source: str, name: str, origin: str) -> str:
    """The source of an experiment under another name, without its docstring, published results and predictions.

    Raises:
        SpecError: the source has no `EXPERIMENT = Experiment(...)`.
    """
    tree = ast.parse(source)
    call = next((node.value for node in tree.body if isinstance(node, ast.Assign) and _is_experiment(node)), None)
    if not isinstance(call, ast.Call):
        raise SpecError(f"FROM {origin!r} has no EXPERIMENT = Experiment(...) to begin with; take another")
    lines = source.splitlines()
    edits: list[tuple[int, int, list[str]]] = []
    if isinstance(tree.body[0], ast.Expr):
        end = tree.body[0].end_lineno or 1
        edits.append((1, end, _DOCSTRING.format(name=name, origin=origin).splitlines()))
    for keyword in call.keywords:
        first, last = keyword.lineno, keyword.end_lineno or keyword.lineno
        indent = " " * keyword.col_offset
        if keyword.arg == "name":
            edits.append((first, last, [f'{indent}name="{name}",']))
        elif keyword.arg in _CLAIMS:
            edits.append((first, last, []))
        elif comment := COMMENTS.get(keyword.arg or ""):
            edits.append((first, last, [f"{indent}# {comment}", *lines[first - 1 : last]]))
    for first, last, new in sorted(edits, reverse=True):
        lines[first - 1 : last] = new
    return _without_unused("\n".join(lines) + "\n")


def _is_experiment(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "EXPERIMENT" for target in node.targets)


def _without_unused(source: str) -> str:
    """Remove imports and constants that are no longer used."""
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name) and _is_read(node)}
    lines = source.splitlines()
    for node in reversed(ast.parse(source).body):
        first, last = node.lineno - 1, node.end_lineno or node.lineno
        if isinstance(node, ast.ImportFrom) and node.module == "harness":
            kept = [alias.name for alias in node.names if (alias.asname or alias.name) in used]
            if len(kept) < len(node.names):
                lines[first:last] = [f"from harness import {', '.join(kept)}"]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            target = node.targets[0].id
            if target != "EXPERIMENT" and target not in used:
                del lines[first : last + (not "".join(lines[last : last + 1]).strip())]  # with the blank line after it
    return "\n".join(lines) + "\n"


def _is_read(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Load)
