"""What a command imports before it answers or trains: the packages that take seconds wait until they are needed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DRAWING = {"matplotlib", "pandas", "seaborn"}
SLOW = DRAWING | {"albumentations", "mlflow", "sklearn", "sympy", "torch", "torch._dynamo", "torchvision"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the code, without a cache."""
    for folder in ("harness", "models", "experiments"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def _run(project: Path, code: str) -> tuple[str, set[str]]:
    """What a new process printed, and which of the slow packages it had imported when it ended."""
    noted = f"\nimport sys\nprint('IMPORTED', *{SLOW} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code + noted], cwd=project, check=True, capture_output=True, text=True)
    printed, _, imported = done.stdout.rpartition("IMPORTED")
    return printed, set(imported.split())


def _main(*arguments: str) -> str:
    call = f"with contextlib.suppress(SystemExit): main({arguments})"
    return f"import contextlib\nfrom harness.__main__ import main\n{call}"


def test_list_needs_torch_once_and_nothing_else(project: Path) -> None:
    """Torch without sympy and its compiler, which meta tensors would bring; later calls show what was kept, the same
    lines, until a file of a model changes."""
    first, imported = _run(project, _main("list"))
    assert imported == {"torch"}
    assert "6,573,120 parameters    379.26 M multiply-adds  receptive field 88  options: width=64, dropout" in first
    assert _run(project, _main("list")) == (first, set())
    resnet = project / "models" / "resnet.py"
    resnet.write_text(resnet.read_text().replace("head_bias: bool = False", "head_bias: bool = True"))
    changed, imported = _run(project, _main("list"))
    assert imported == {"torch"}
    assert "6,573,130 parameters" in changed


def test_help_and_a_mistyped_name_need_none_of_them(project: Path) -> None:
    """Also where a run is asked for: its name and SET are read first."""
    printed, imported = _run(project, _main("--help"))
    assert (printed[:14], imported) == ("usage: harness", set())
    assert _run(project, _main("run", "quickstrat")) == ("", set())
    assert _run(project, _main("run", "--set=epochs", "quickstart")) == ("", set())


def test_a_run_waits_for_torch_and_its_store_alone(project: Path) -> None:
    """What draws comes when a run ends, albumentations when there is something to augment, MLflow with its store."""
    code = "import harness.execution.check, harness.execution.execute, harness.tracking.tracker\n"
    code += "harness.execution.check.source.check((), 32, 32, 3)"
    assert _run(project, code) == ("", {"torch"})
