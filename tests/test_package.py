"""The installed package: its command works in any folder, with make's verbs and variables."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

import harness.__main__
import reports.__main__
from reports import command

ROOT = Path(__file__).resolve().parents[1]
Run = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it, which sees this one's packages through a .pth file."""
    folder = tmp_path_factory.mktemp("package")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    source, left = folder / "source", shutil.ignore_patterns("__pycache__", "published", "out")
    for name in ("experiments", "harness", "models", "reports"):
        shutil.copytree(ROOT / name, source / name, ignore=left)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", str(wheel)], check=True, capture_output=True)
    site = next((folder / "env" / "lib").glob("python*/site-packages"))
    (site / "shared.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "env" / "bin" / "harness"


def _call(program: Path, folder: Path, *words: str) -> Run:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")}
    return subprocess.run([program, *words], cwd=folder, env=clean, capture_output=True, text=True, timeout=120)


def test_a_new_folder_becomes_a_project(installed: Path, tmp_path: Path) -> None:
    """An example is copied out of the package, is found in ./experiments, and is refused by the same rules."""
    made = _call(installed, tmp_path, "new", "EXP=mine", "FROM=norm_comparison")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("wrote experiments/mine.py; ")
    assert [path.name for path in tmp_path.iterdir()] == ["experiments"]
    said = _call(installed, tmp_path, "run", "EXP=mine", "SEEDS=x")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == (
        "error: SEEDS must be how many, as SEEDS=5, or which, as SEEDS=0,1,7, in numbers below a billion; got 'x'\n"
    )
    said = _call(installed, tmp_path, "run", "quickstart")
    assert said.stderr == "error: EXP must name a file in experiments/; got 'quickstart'; there are mine\n"


@pytest.mark.skipif(sys.platform != "linux", reason="another C library")
@pytest.mark.parametrize(
    ("given", "has"), [(None, command.HUGE_PAGES), ("glibc.malloc.check=0", "glibc.malloc.check=0")]
)
def test_what_trains_has_the_makefiles_huge_pages(
    given: str | None, has: str, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that reads an experiment's file was started with them; a setting of the user's own stays."""
    assert f"GLIBC_TUNABLES ?= {command.HUGE_PAGES}" in (ROOT / "Makefile").read_text()
    assert f"\n{' '.join(command.TRAINING[:2])} " in (ROOT / "Makefile").read_text()
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if given:
        monkeypatch.setenv("GLIBC_TUNABLES", given)
    (tmp_path / "experiments").mkdir()
    told = "import os; raise ValueError('started with ' + os.environ['GLIBC_TUNABLES'])"
    (tmp_path / "experiments" / "told.py").write_text(told)
    assert f"started with {has}" in _call(installed, tmp_path, "run", "EXP=told").stderr


def test_results_are_judged_where_they_lie(installed: Path, tmp_path: Path) -> None:
    """The templates of the page are in the package, and the report is written into the working folder."""
    (tmp_path / "mine.csv").write_text("variant,seed,acc\na,0,0.70\na,1,0.72\nb,0,0.74\nb,1,0.75\n")
    done = _call(installed, tmp_path, "compare", "CSV=mine.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("report: reports/out/compare-mine/report.md and report.html\n")
    assert (tmp_path / "reports" / "out" / "compare-mine" / "report.html").stat().st_size > 10_000


def test_help_names_every_verb(installed: Path, tmp_path: Path) -> None:
    """Those of both programs, with what they do."""
    said = _call(installed, tmp_path, "help").stdout
    for verb in ("run", "new", "sync", "report", "compare"):
        assert f"\n    {verb} " in said


@pytest.mark.parametrize(
    ("status", "words", "called"),
    [
        (0, ["EXP=a", "SEEDS=2", "SET=epochs=2"], [["run", "a", "--seeds=2", "--set=epochs=2"], ["write", "a"]]),
        (1, ["a", "--seeds=2"], [["run", "a", "--seeds=2"], ["write", "a"]]),
        (2, ["EXP=a"], [["run", "a"]]),
        (130, ["EXP=a"], [["run", "a"]]),
    ],
)
def test_run_reports_as_make_does(
    status: int, words: list[str], called: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report even when some runs failed, none after bad input or Ctrl-C; the status is the runs'."""
    calls: list[list[str]] = []

    def note(result: int):
        def call(arguments: Sequence[str]) -> int:
            calls.append(list(arguments))
            return result

        return call

    monkeypatch.setattr(harness.__main__, "main", note(status))
    monkeypatch.setattr(reports.__main__, "main", note(0))
    monkeypatch.setattr(sys, "path", sys.path.copy())
    assert command.main(["run", *words]) == status
    assert calls == called


def test_variables_of_reports_reach_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """ALLOW and UPDATE are read from the environment, where make puts them."""
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(reports.__main__, "main", lambda words: seen.append((*words, os.environ["ALLOW"])) or 0)
    monkeypatch.setenv("ALLOW", "")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    assert command.main(["report", "EXP=a b", "ALLOW=data.checksum"]) == 0
    assert seen == [("write", "a b", "data.checksum")]


def test_each_variable_that_reports_read_from_the_environment_can_be_typed() -> None:
    """Another name, as in `harness report EXP=a ROPE=1`, would become an option that no verb has."""
    code = "".join(path.read_text() for path in (ROOT / "reports").glob("*.py"))
    read = set(re.findall(r'environ\.get\("([A-Z]+)"', code))
    assert read == {"ALLOW", "FIGURES", "ROPE", "UPDATE"}
    for name in read:
        assert command._option(f"{name}=", "report") == []


def test_ctrl_c_in_the_installed_command_is_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the verbs that are reports'; no traceback."""

    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(reports.__main__, "main", interrupted)
    assert command.main(["results", "EXP=quickstart"]) == 130
