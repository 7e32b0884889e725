"""Load experiments from `experiments/<name>.py`; each file defines `EXPERIMENT`."""

import importlib.util
import re
import sys
import traceback
from pathlib import Path

from pydantic import ValidationError

from harness.plans.experiment import Experiment
from harness.plans.overrides import explain
from harness.values import SpecError, in_one_line, nearest

_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")


def names(root: Path) -> tuple[str, ...]:
    """The names of all experiments, sorted."""
    files = (path.stem for path in (root / "experiments").glob("*.py"))
    return tuple(sorted(name for name in files if _NAME.fullmatch(name)))


def load(name: str, root: Path) -> Experiment:
    """Load an experiment by name.

    Raises:
        SpecError: the file does not exist, is not valid Python, raises an error, or has values that break a rule. The
            message names the file and line.
    """
    known = names(root)
    if name not in known:
        hint = nearest(name, known) or f"; there are {', '.join(known) or 'none'}"
        raise SpecError(f"EXP must name a file in experiments/; got {name!r}{hint}")
    path = root / "experiments" / f"{name}.py"
    where = path.relative_to(root)
    module_spec = importlib.util.spec_from_file_location(f"experiments.{name}", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    try:
        sys.modules[module.__name__] = module  # like an import: classes defined in the file are looked up there
        module_spec.loader.exec_module(module)
    except SyntaxError as error:
        raise SpecError(f"{_place(error, path, root)}: {error.msg}; correct it and run again") from error
    except ValidationError as error:
        raise SpecError(f"{_place(error, path, root)}: {explain(error)}") from error
    except (Exception, SystemExit) as error:  # the file is user code and may raise anything
        raise SpecError(
            f"{_place(error, path, root)}: {type(error).__name__}: {in_one_line(error)}{_hint(error)}"
        ) from error
    experiment = getattr(module, "EXPERIMENT", None)
    if not isinstance(experiment, Experiment):
        raise SpecError(f"{where} must define EXPERIMENT = Experiment(...)")
    if experiment.name != name:
        raise SpecError(f"{where}: `name` must be the file's, {name!r}; got {experiment.name!r}")
    return experiment


def _hint(error: BaseException) -> str:
    """What puts right two slips that Python words for those who know it."""
    if isinstance(error, NameError) and error.name in sys.modules["harness"].__all__:
        return f"; begin the file with: from harness import {error.name}"
    if isinstance(error, TypeError) and "positional argument" in str(error):
        return '; give values by their names, as Data(name="digits")'
    return ""


def _place(error: BaseException, path: Path, root: Path) -> str:
    """The file and line of the error, which may be in another experiment file that this one imports."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((Path(error.filename), error.lineno))
    ours = [(file, line) for file, line in frames if file.parent == path.parent]
    file, line = ours[-1] if ours else (path, None)
    return f"{file.relative_to(root)} line {line}" if line else str(file.relative_to(root))
