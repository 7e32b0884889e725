"""One file a question. Each holds `EXPERIMENT`, a value: nothing here runs anything."""

from pathlib import Path

__path__ = [str(Path.cwd() / "experiments"), *__path__]
"""Those of the working folder come first; an installed package brings its own as examples."""
