"""Import the files of `models/`, each of which registers its networks; a file that fails does not affect the others."""

import importlib
import pkgutil

from models import registry

BROKEN: dict[str, str] = {}
"""File → the reason why it cannot be imported, in one line."""
_OUR_OWN = ("families", "layers", "lookup", "outside", "registry", "stems", "summary")


def import_all() -> None:
    """Import every file of the package; networks that a failing file has already registered are removed."""
    package = importlib.import_module("models")
    for found in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        if found.name not in _OUR_OWN:
            _import(f"models.{found.name}")


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:  # model files are user code and may raise anything
        for name in [name for name, builder in registry._BUILDERS.items() if builder.__module__ == module]:
            del registry._BUILDERS[name]
        file = f"{module.replace('.', '/')}.py"
        said = " ".join(str(error).split()) or type(error).__name__
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        kind = "" if isinstance(error, registry.ModelError | SyntaxError) else f"{type(error).__name__}: "
        BROKEN[file] = f"{file}{line}: {kind}{error.msg if isinstance(error, SyntaxError) else said}"
