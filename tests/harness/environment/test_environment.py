"""What could have changed a result: digests see what code computes and nothing else, versions are of what is used."""

import functools
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import models
from harness.environment import builder_digest, code_at_start, differences, provenance
from harness.environment import project as project_folder
from harness.execution.changes import environment
from harness.plans.hyperparameters import SGD, LRFinder
from harness.plans.spec import Circumstances, Recipe, Transform

ROOT = Path(__file__).parents[3]
SOURCE = """import math

RATE = "0.1"


def scale(x: float) -> float:
    return math.sqrt(x) * 2
"""
SAME = {
    "comments": SOURCE.replace("import math", "# numbers\nimport math  # of C's library"),
    "docstrings": SOURCE.replace("import math", '"""Scales."""\n\nimport math').replace(
        "    return", '    """Twice the root."""\n    return'
    ),
    "a field's description": SOURCE.replace('"0.1"', '"0.1"\n"""Of the first step."""'),
    "formatting": SOURCE.replace('"0.1"', "'0.1'").replace("math.sqrt(x) * 2", "(\n        math.sqrt( x )*2)"),
}
OTHER = {
    "a number": SOURCE.replace("* 2", "* 3"),
    "a text": SOURCE.replace("0.1", "0.2"),
    "an order": SOURCE.replace("math.sqrt(x) * 2", "2 * math.sqrt(x)"),
    "a statement": SOURCE.replace("    return", "    x += 1\n    return"),
}


def code(root: Path) -> str:
    """The digest as a process that begins now would find it."""
    code_at_start.cache_clear()
    return code_at_start(root)["code"]


def model_code(builder: Callable[..., Any]) -> str:
    """As `code`."""
    return builder_digest.__wrapped__(builder)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with rooms as the repository has them, each with one file, and no history."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for room in ("training", "data", "augmentation", "records", "tracking"):
        (tmp_path / "harness" / room).mkdir(parents=True)
        (tmp_path / "harness" / room / "one.py").write_text(SOURCE)
    yield tmp_path
    code_at_start.cache_clear()


@pytest.mark.parametrize("room", ["training", "data", "augmentation"])
def test_the_code_digest_sees_what_decides_a_result(project: Path, room: str) -> None:
    """A number, a text, an order of operations, a statement; a file more, its name and its place."""
    file, seen = project / "harness" / room / "one.py", {code(project)}
    for changed in OTHER.values():
        file.write_text(changed)
        seen.add(code(project))
    file.write_text(SOURCE)
    (file.parent / "two.py").touch()
    seen.add(code(project))
    (file.parent / "two.py").rename(file.parent / "three.py")
    seen.add(code(project))
    (file.parent / "deeper").mkdir()
    (file.parent / "three.py").rename(file.parent / "deeper" / "three.py")
    seen.add(code(project))
    assert len(seen) == 1 + len(OTHER) + 3


def test_the_code_digest_ignores_what_changes_no_result(project: Path) -> None:
    """Comments, docstrings and formatting; other rooms, other files; where the project lies."""
    before, file = code(project), project / "harness" / "training" / "one.py"
    for changed in SAME.values():
        file.write_text(changed)
        assert code(project) == before
    for room in ("records", "tracking"):
        (project / "harness" / room / "one.py").write_text("print('hello')")
    (project / "harness" / "values.py").touch()
    (project / "README.md").touch()
    (project / "harness" / "data" / "notes.txt").touch()
    assert code(project) == before


def test_the_repositorys_own_code_is_digested(tmp_path: Path) -> None:
    """Its rooms are where the digest looks for them; a project that has none runs the same code, installed."""
    (tmp_path / "empty" / "harness").mkdir(parents=True)
    assert re.fullmatch("[0-9a-f]{12}", code(ROOT))
    assert code(ROOT) != code(tmp_path / "empty")
    assert code(ROOT) == code(tmp_path)


def test_a_project_is_the_working_folder_or_the_repository_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder inside the repository its own experiments are found; anywhere else those that lie there."""
    monkeypatch.chdir(ROOT / "tests")
    assert project_folder() == ROOT
    monkeypatch.chdir(tmp_path)
    assert project_folder() == tmp_path


PACKAGE = {
    "__init__.py": "from .blocks import Block\nfrom .one import one\nfrom .two import two\n",
    "blocks.py": "from . import sizes\n\n\nclass Block:\n    size = sizes.SIZE\n",
    "sizes.py": "SIZE = 3\n",
    "deeper/__init__.py": "from .parts import part\n\n\ndef own():\n    return part\n",
    "deeper/parts.py": "def part():\n    return 1\n",
    "one.py": "from outside_zoo import Block\n\nfrom .deeper import own\n\n\ndef one():\n    return Block, own\n",
    "two.py": "from outside_zoo.blocks import Block\n\n\ndef two():\n    return Block\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Models from outside: `one` takes its block by way of the package, `two` from its module."""
    for name, text in PACKAGE.items():
        (tmp_path / "outside_zoo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "outside_zoo" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "outside_zoo"
    for name in [name for name in sys.modules if name.partition(".")[0] == "outside_zoo"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "seen_by_one", "seen_by_two"),
    [
        ("one.py", True, False),
        ("two.py", False, True),
        ("blocks.py", True, True),
        ("sizes.py", True, True),
        ("deeper/__init__.py", True, False),
        ("deeper/parts.py", True, False),
        ("__init__.py", False, False),
    ],
)
def test_a_models_digest_is_of_its_file_and_what_that_imports(
    package: Path, file: str, seen_by_one: bool, seen_by_two: bool
) -> None:
    """Directly, by way of its package or of a package in it, and in turn; another model's file is no part of it."""
    zoo = importlib.import_module("outside_zoo")
    before = model_code(zoo.one), model_code(zoo.two)
    (package / file).write_text("# a comment\n" + PACKAGE[file])
    assert (model_code(zoo.one), model_code(zoo.two)) == before
    (package / file).write_text(PACKAGE[file] + "\nX = 1\n")
    assert (model_code(zoo.one) != before[0], model_code(zoo.two) != before[1]) == (seen_by_one, seen_by_two)


def test_a_process_keeps_a_models_digest(package: Path) -> None:
    """What it runs was read before the file was edited."""
    zoo = importlib.import_module("outside_zoo")
    before = builder_digest(zoo.one)
    (package / "one.py").write_text(PACKAGE["one.py"] + "\nX = 1\n")
    assert builder_digest(zoo.one) == before != model_code(zoo.one)


def edited(module: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a module come from an edited copy of its file."""
    copy = folder / Path(module.__file__).name
    copy.write_text(Path(module.__file__).read_text() + "\nX = 1\n")
    monkeypatch.setattr(module, "__file__", str(copy))


def test_the_zoos_own_models_are_digested_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on one network leaves the runs of another comparable; work on the layers that they share does not."""
    names = ("resnet", "norm_cnn", "mnist_cnn")
    before = {name: model_code(models.builder(name)) for name in names}
    assert len(set(before.values())) == 3
    edited(sys.modules["models.summary"], tmp_path, monkeypatch)
    assert {name: model_code(models.builder(name)) for name in names} == before
    edited(sys.modules["models.layers"], tmp_path, monkeypatch)
    assert model_code(models.builder("resnet")) != before["resnet"]


def test_a_model_in_an_experiments_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is read as the catalogue reads it, in no module that others import; the zoo's layers that it is made of
    count, and so does it under another's decorator."""
    file = tmp_path / "trial.py"
    text = "from models import fit_to\n\n\ndef mine():\n    return fit_to\n"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("experiments.trial", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    @functools.wraps(module.mine)
    def wrapped() -> nn.Module:
        return module.mine()

    before = model_code(module.mine)
    assert model_code(wrapped) == before
    file.write_text(text.replace("return", "return 1,"))
    assert before != model_code(module.mine) == model_code(wrapped)
    file.write_text(text)
    edited(sys.modules["models.layers"], tmp_path, monkeypatch)
    assert model_code(module.mine) != before


def _git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_and_its_dirt_are_those_of_the_start(tmp_path: Path) -> None:
    """The commit that HEAD is; dirty once a tracked file differs from it, for a process that begins after that."""
    _git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("1")
    _git(tmp_path, "add", "file")
    _git(tmp_path, "commit", "--quiet", "-m", "one")
    clean = provenance(tmp_path, ["torch"])
    assert (clean["commit"], clean["dirty"]) == (_git(tmp_path, "rev-parse", "HEAD"), False)
    assert clean["versions"] == {"torch": torch.__version__.split("+")[0]}
    assert clean["processor"]
    (tmp_path / "file").write_text("2")
    assert provenance(tmp_path, [])["dirty"] is False  # what this process runs was read before
    code_at_start.cache_clear()
    assert provenance(tmp_path, [])["dirty"] is True


def test_without_git_the_commit_is_unknown(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A downloaded archive has no history, a bare machine no git: neither stops a run."""
    assert provenance(project, [])["commit"] is None
    monkeypatch.setenv("PATH", str(project))
    code_at_start.cache_clear()
    assert provenance(project, [])["commit"] is None


LIBRARY = {"albumentations", "albucore", "opencv-python-headless"}


@pytest.mark.parametrize(
    ("changes", "further"),
    [
        ({}, set()),
        ({"augmentation": (Transform(name="HorizontalFlip"),)}, LIBRARY),
        ({"optimizer": SGD(lr="find"), "lr_finder": LRFinder()}, {"torch-lr-finder"}),
    ],
    ids=["plain", "augmented", "found"],
)
def test_versions_are_of_what_a_run_uses(
    project: Path, recipe: Recipe, circumstances: Circumstances, changes: dict[str, Any], further: set[str]
) -> None:
    """A release of a library that has no part in a run parts it from no other."""
    there = environment(project, recipe.model_copy(update=changes), circumstances)
    assert there["versions"].keys() == {"torch", "numpy"} | further
    assert (there["device"], there["cuda"]) == ("cpu", None)
    assert there["model_code"] == builder_digest(models.builder("norm_cnn"))


def test_differences_are_named_field_by_field_and_package_by_package() -> None:
    """What one of the two does not record is no difference, whole tables of versions included."""
    before = {"code": "c0de", "python": "3.11", "versions": {"torch": "2.11.0", "mlflow": "3"}}
    now = {"code": "beef", "python": "3.11", "model_code": "m", "versions": {"torch": "2.14.1", "numpy": "2"}}
    assert differences(before, now) == {"code": ("c0de", "beef"), "torch": ("2.11.0", "2.14.1")}
    assert differences({"code": "c0de"}, now) == {"code": ("c0de", "beef")}
    assert differences(now, now) == {}
