"""What README and docs tell a reader to type is executed; where they point to is there."""

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import models
from harness.__main__ import parser
from harness.evidence import metrics
from harness.evidence.metrics import registry as metric_registry
from harness.plans.experiment import Experiment
from harness.values import SpecError
from models import registry
from tests import reader, typed

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
COMMANDS = sorted(typed.commands(path.read_text() for path in DOCUMENTS))


def test_every_command_is_executed_or_said_not_to_be() -> None:
    """A new command needs an entry, and an entry a command."""
    assert set(COMMANDS) - typed.KNOWN == set(), "documents have commands that stand in no table of tests/typed.py"
    assert typed.KNOWN - set(COMMANDS) == set(), "tables of tests/typed.py have what no document has"
    assert set(typed.INSIDE.values()) <= typed.KNOWN


@pytest.mark.parametrize("command", [each for each in COMMANDS if each.startswith("make ")])
def test_every_command_is_a_target_with_variables_that_it_reads(command: str) -> None:
    """A renamed target or variable would leave a reader with an error; SET can be parted as a shell does."""
    _, goal, *words = shlex.split(re.sub(r"<[^>]*>", "X", command))
    given = dict(word.split("=", 1) for word in words)
    assert goal in TARGETS
    assert given.keys() <= typed.variables(MAKEFILE).get(goal, set())
    if goal == "run":
        options = [f"--{name.lower().replace('_', '-')}={value}" for name, value in given.items() if name != "EXP"]
        try:
            chosen = parser().parse_args(["run", *options, "--", given.get("EXP", "X")])
        except SpecError as error:
            pytest.fail(str(error))
        shlex.split(chosen.set)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?://|#)([^)\s#]+)", text)
    missing = [link for link in links if not (document.parent / link).exists()]
    assert missing == []


def test_readmes_experiment_model_and_metric_are_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block of Python can be pasted: the model gives logits, of grey images too; the metric judges."""
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))
    monkeypatch.setattr(metric_registry, "_METRICS", dict(metric_registry._METRICS))
    pasted: dict[str, object] = {"__name__": __name__}
    for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE):
        exec(block, pasted)  # noqa: S102 our own README
    assert isinstance(pasted["EXPERIMENT"], Experiment)
    models.check("wide_cnn", {"width": 8, "in_channels": 1, "image_size": 28, "classes": 7})
    assert metrics.of_primary("test_top2_accuracy").problem(3) is None


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> reader.Reader:
    """A copy of the project, in which the first command of the README has been executed."""
    made = reader.project(tmp_path_factory.mktemp("reader"), README)
    ran = made.types(typed.SHORT_QUICKSTART)
    assert ran.returncode == 0, ran.stdout
    return made


@pytest.mark.timeout(reader.SECONDS)
def test_quick_commands_are_executed(project: reader.Reader) -> None:
    """Each as a reader types it, one after the other, in one project."""
    for command, instead in typed.QUICK.items():
        done = project.types(instead or command)
        assert done.returncode == 0, f"{command}\n{done.stdout}"


@pytest.mark.documents
@pytest.mark.timeout(0)
@pytest.mark.parametrize("command", typed.LONG)
def test_a_command_is_executed(command: str, project: reader.Reader) -> None:
    """In the order of the table: some need what those before them have made."""
    done = project.types(typed.LONG[command] or command)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.documents
@pytest.mark.timeout(0)
@pytest.mark.parametrize("command", typed.SERVERS)
def test_a_server_is_started_and_ends_by_ctrl_c(command: str, project: reader.Reader) -> None:
    """It answers that it is well; the status is then make's, or that of a shell that was interrupted itself."""
    assert project.serves(typed.SERVERS[command], reader.free_port()) in (0, 2, 130, -signal.SIGINT)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> reader.Reader:
    """An empty folder, a new environment that holds nothing but pip, and the project's source elsewhere."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    (folder / "empty").mkdir()
    made = reader.project(folder, README)
    made.environment["PATH"] = f"{folder / 'env' / 'bin'}:{made.environment['PATH']}"
    made.environment.pop("VIRTUAL_ENV", None)
    return made


@pytest.mark.documents
@pytest.mark.timeout(0)
def test_the_installed_command_works_in_a_clean_environment_and_an_empty_folder(clean: reader.Reader) -> None:
    """pip installs every package anew; then the README's commands, and those that show what they made."""
    empty = clean.here.parent / "empty"
    for command in (*(instead or command for command, instead in typed.INSTALLED.items()), *typed.SHOWN):
        done = clean.types(command, empty)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}"
    assert "site-packages" in clean.types("python -c 'import harness; print(harness.__file__)'", empty).stdout
    assert {path.name for path in empty.iterdir()} >= {"experiments", "runs", "mlflow.db", "reports"}
