"""No file that the program loads can run code: what ruff's rules (S301 and others in pyproject.toml) do not look at."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
FILES = [path for room in ("harness", "models", "reports", "experiments") for path in (PROJECT / room).rglob("*.py")]


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """Calls of a module's function, as in `torch.load(...)`."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]


def arguments(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_torch_and_numpy_load_nothing_but_data(path: Path) -> None:
    """`torch.load` says weights_only=True, `np.load` never allows pickles, and neither comes by another name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for call in calls(tree, "torch.load"):
        assert arguments(call).get("weights_only") == "True", ast.unparse(call)
    for call in calls(tree, "np.load"):
        assert arguments(call).get("allow_pickle", "False") == "False", ast.unparse(call)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("torch", "numpy", "pickle"):
            assert not {"load", "loads", "Unpickler"} & {name.name for name in node.names}, ast.unparse(node)


def test_the_calls_are_found() -> None:
    """The two that there are, so that the test above does not pass for want of any."""
    trees = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
    assert calls(trees["checkpoint"], "torch.load")
    assert calls(trees["data"], "np.load")
