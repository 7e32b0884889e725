"""What there is to run: the experiments on disk, `experiments/<name>.py` holding `EXPERIMENT`, and the models."""

import hashlib
import importlib.metadata
import importlib.util
import re
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from harness.files import write_whole
from harness.plans.overrides import explain
from harness.plans.spec import Experiment
from harness.values import SpecError, in_one_line, nearest

if TYPE_CHECKING:
    from models import ModelSummary

_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")


def names(root: Path) -> tuple[str, ...]:
    """Every experiment's name, sorted."""
    files = (path.stem for path in (root / "experiments").glob("*.py"))
    return tuple(sorted(name for name in files if _NAME.fullmatch(name)))


def load(name: str, root: Path) -> Experiment:
    """The experiment of that name.

    Raises:
        SpecError: no such file, a file that cannot be read as Python, values that break a rule; names file and line.
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
        module_spec.loader.exec_module(module)
    except SyntaxError as error:
        raise SpecError(f"{_place(error, path, root)}: {error.msg}; correct it and run again") from error
    except ValidationError as error:
        raise SpecError(f"{_place(error, path, root)}: {explain(error)}") from error
    except (Exception, SystemExit) as error:  # a user's own code: whatever it raises is theirs to read
        raise SpecError(f"{_place(error, path, root)}: {type(error).__name__}: {in_one_line(error)}") from error
    experiment = getattr(module, "EXPERIMENT", None)
    if not isinstance(experiment, Experiment):
        raise SpecError(f"{where} must define EXPERIMENT = Experiment(...)")
    if experiment.name != name:
        raise SpecError(f"{where}: `name` must be the file's, {name!r}; got {experiment.name!r}")
    return experiment


def model_lines(root: Path) -> list[str]:
    """A line a registered model: parameters, multiply-adds, receptive field, options and their defaults.

    Kept in data/cache until the models' code changes: whoever only looks need not wait for torch.
    """
    sha = hashlib.sha256(importlib.metadata.version("torch").encode())
    for path in (Path(__file__), *sorted((root / "models").glob("*.py"))):
        sha.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    kept = root / "data" / "cache" / f"models-{sha.hexdigest()[:12]}.txt"
    with suppress(OSError):
        return kept.read_text().splitlines()
    import models

    lines = [_model_line(name) for name in models.names()]
    with suppress(OSError):  # a project that cannot be written to can still be listed
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, "\n".join(lines).encode())
    return lines


def layers(model: str) -> str:
    """A registered model's table of layers, at its default options.

    Raises:
        SpecError: there is no model of that name.
    """
    import models

    if model not in models.names():
        raise SpecError(f"MODEL must be one of {', '.join(models.names())}; got {model!r}")
    return models.format_summary(_summary(model))


def _model_line(name: str) -> str:
    import models

    summary = _summary(name)
    options = ", ".join(f"{option}={default}" for option, default in models.options(name).items())
    return (
        f"{name:<12} {summary.parameters:>10,} parameters  {summary.multiply_adds / 1e6:>8.2f} M multiply-adds  "
        f"receptive field {summary.receptive_field}  options: {options}"
    )


def _summary(name: str) -> "ModelSummary":
    import models

    options = models.options(name)
    shape = (int(options["in_channels"]), int(options["image_size"]), int(options["image_size"]))
    return models.summarize(models.build(name), shape)


def _place(error: BaseException, path: Path, root: Path) -> str:
    """The file and line at fault: one experiment may import another, and the fault lie there."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((Path(error.filename), error.lineno))
    ours = [(file, line) for file, line in frames if file.parent == path.parent]
    file, line = ours[-1] if ours else (path, None)
    return f"{file.relative_to(root)} line {line}" if line else str(file.relative_to(root))
