"""Experiments, one file per question. Each file defines `EXPERIMENT`; importing it does not run anything."""

from pathlib import Path

__path__ = [str(Path.cwd() / "experiments"), *__path__]
"""Experiments in the working folder come first; those of the installed package serve as examples."""
