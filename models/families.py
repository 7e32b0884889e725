"""The files of `models/`: each registers its networks when it is imported, and a broken one harms no other."""

import importlib
import pkgutil

from models import registry

BROKEN: dict[str, str] = {}
"""File → why it cannot be imported, in one line."""
_OUR_OWN = ("families", "layers", "lookup", "outside", "registry", "stems", "summary")


def import_all() -> None:
    """Import every file of the package; what a broken one had registered before it failed is forgotten."""
    package = importlib.import_module("models")
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        if found.name not in _OUR_OWN:
            _import(f"models.{found.name}")


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:  # it is the user's own code that runs here, and may fail in any way
        for name in [name for name, builder in registry._BUILDERS.items() if builder.__module__ == module]:
            del registry._BUILDERS[name]
        file = f"{module.replace('.', '/')}.py"
        said = " ".join(str(error).split()) or type(error).__name__
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        kind = "" if isinstance(error, registry.ModelError | SyntaxError) else f"{type(error).__name__}: "
        BROKEN[file] = f"{file}{line}: {kind}{error.msg if isinstance(error, SyntaxError) else said}"
