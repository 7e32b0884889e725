"""No file that the program loads can run code: what ruff's rules (S301 and others in pyproject.toml) do not look at."""

import ast
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FILES = [path for room in ("harness", "models", "reports", "experiments") for path in (PROJECT / room).rglob("*.py")]


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """Calls of a module's function, as in `torch.load(...)`."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]


def arguments(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_torch_and_numpy_load_nothing_but_data() -> None:
    """`torch.load` says weights_only=True, `np.load` never allows pickles, and neither comes by another name.

    Both are called somewhere, so that the test does not pass for want of any.
    """
    seen = 0
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        torchs, numpys = calls(tree, "torch.load"), calls(tree, "np.load")
        seen |= bool(torchs) + 2 * bool(numpys)
        for call in torchs:
            assert arguments(call).get("weights_only") == "True", f"{path}: {ast.unparse(call)}"
        for call in numpys:
            assert arguments(call).get("allow_pickle", "False") == "False", f"{path}: {ast.unparse(call)}"
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in ("torch", "numpy", "pickle"):
                named = {"load", "loads", "Unpickler"} & {name.name for name in node.names}
                assert not named, f"{path}: {ast.unparse(node)}"
    assert seen == 3
