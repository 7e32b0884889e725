"""The Makefile: it passes on what was typed, refuses variables that a target does not read, and lists its targets."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.typed import variables

ROOT = Path(__file__).parents[1]
LOADER = next(Path("/lib64").glob("ld-linux*"), None)


@pytest.fixture
def makefile(tmp_path: Path) -> Path:
    """The Makefile, beside an environment whose python only notes its arguments and ends as it is told."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" END >>calls\ntest "$2" != harness || exit $STATUS\n')
    python.chmod(0o755)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / ".venv" / "requirements.stamp").touch()
    return tmp_path


def _make(root: Path, *arguments: str, status: int = 0) -> tuple[int, list[list[str]]]:
    """make's status, and the arguments of each call of python."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", *arguments], cwd=root, env=clean | {"STATUS": str(status)}, capture_output=True)
    calls = (root / "calls").read_text().split("END\n")[:-1]
    return done.returncode, [call.splitlines() for call in calls]


def test_make_passes_on_what_was_typed(makefile: Path) -> None:
    """Quotes, $, backquotes and semicolons reach the program as they are: neither make nor the shell reads them."""
    nasty = "$(shell touch made) $$(touch ran) `touch ran`; touch ran 'a\" b=#c"
    status, calls = _make(makefile, "run", f"EXP={nasty}", f"SET={nasty}", "DATA=folder:a b", "VARIANTS=a,b")
    harness, reports = calls
    assert status == 0
    assert harness == ["-m", "harness", "run", "--data=folder:a b", "--seeds=", "--until=", "--max-seeds=",
                       "--variants=a,b", f"--set={nasty}", "--workers=", "--allow=", "--jobs=", "--ray=", "--ray-gpu=",
                       "--slurm=", "--", nasty]  # fmt: skip
    assert (reports[:2], reports[-2:]) == (["-m", "reports"], ["--", nasty])
    assert not {"made", "ran"} & {path.name for path in makefile.iterdir()}


@pytest.mark.parametrize(("status", "reported"), [(0, True), (1, True), (2, False), (130, False)])
def test_make_run_reports_what_was_made(makefile: Path, status: int, reported: bool) -> None:
    """A report even when some runs failed, none after bad input or Ctrl-C; make fails when the runs did."""
    code, calls = _make(makefile, "run", "EXP=quickstart", status=status)
    assert (code != 0, len(calls)) == (status != 0, 1 + reported)


@pytest.mark.parametrize(("until", "calls"), [("", ["harness", "reports"]), ("decided", ["harness"])])
def test_make_plan_says_what_a_settled_number_of_seeds_could_show(makefile: Path, until: str, calls: list[str]) -> None:
    """With UNTIL= the number is not settled, and the looks are planned as they would be run."""
    status, called = _make(makefile, "plan", "EXP=x", f"UNTIL={until}", "MAX_SEEDS=20")
    assert (status, [call[1] for call in called]) == (0, calls)
    assert {f"--until={until}", "--max-seeds=20"} <= set(called[0])


@pytest.mark.skipif(LOADER is None, reason="another C library")
def test_training_starts_with_settings_that_glibc_knows(makefile: Path) -> None:
    """It ignores what it does not know without a word; asked what is set, it names each of the Makefile's."""
    python = makefile / ".venv" / "bin" / "python"
    python.write_text(f"#!/bin/sh\n{LOADER} --list-tunables >tunables\n")
    clean = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    subprocess.run(["make", "run", "EXP=quickstart"], cwd=makefile, env=clean, check=True, capture_output=True)
    known = dict(line.split(": ") for line in re.findall(r"^\S+: \S+", (makefile / "tunables").read_text(), re.M))
    settings = re.findall(r"(glibc\.\w+\.\w+)=(\d+)", (makefile / "Makefile").read_text())
    assert settings
    assert {name: int(known[name], 0) for name, _ in settings} == {name: int(value) for name, value in settings}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["run", "EXP=x", "SEED=3"], "*** SEED is not read by make run; did you mean SEEDS?.  Stop."),
        (["run", "EXP=x", "VARIANT=a"], "*** VARIANT is not read by make run; did you mean VARIANTS?.  Stop."),
        (
            ["run", "EXP=x", "LR=0.1"],
            '; a field of the recipe is set as in SET="model.name=resnet optimizer.lr=0.1".  Stop.',
        ),
        (["report", "CSV=a"], "*** CSV is not read by make report; there are EXP ALLOW FIGURES ROPE.  Stop."),
        (["compare", "CSV=a", "YES=1"], "*** YES is not read by make compare; there are CSV MLFLOW VARIANT "),
        (["prune", "EXP=x", "VARIANTS=a", "YES=1"], "*** VARIANTS is not read by make prune; there are EXP VARIANT "),
        (["plan", "EXP=x", "JOBS=2"], "*** JOBS is not read by make plan; there are EXP DATA SEEDS VARIANTS SET "),
        (["sync", "EXP=x"], "*** EXP is not read by make sync; it reads none.  Stop."),
    ],
    ids=" ".join,
)
def test_a_variable_that_the_target_does_not_read_is_refused(makefile: Path, typed: list[str], said: str) -> None:
    """SEED for SEEDS would change nothing in silence, although compare reads a SEED; and prune would delete more."""
    done = subprocess.run(["make", *typed], cwd=makefile, capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (makefile / "calls").exists()


def test_a_target_reads_what_its_recipe_passes_on() -> None:
    """What a recipe mentions and READ_ of its target lacks could not be typed."""
    text = (ROOT / "Makefile").read_text()
    read = variables(text)
    recipes = dict(re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)+)", text, re.M))
    passed = {name: set(re.findall(r"\$\$([A-Z][A-Z_]*)", recipe)) for name, recipe in recipes.items()}
    assert len(passed["run"]) > 10
    assert {name: unread for name, names in passed.items() if (unread := names - read.get(name, set()))} == {}


def test_make_compare_passes_on_its_columns(makefile: Path) -> None:
    """SEED and VARIANT are columns there, and arrive as they are."""
    status, calls = _make(makefile, "compare", "CSV=a b.csv", "SEED=params.seed", "VARIANT=$x", "LOWER=1")
    assert status == 0
    assert calls == [["-m", "reports", "compare", "--csv=a b.csv", "--mlflow=", "--variant=$x", "--seed=params.seed",
                      "--metric=", "--baseline=", "--margin=", "--unit=", "--lower=1"]]  # fmt: skip


def test_make_help_shows_the_targets() -> None:
    """Each with its comment; help itself needs no environment."""
    done = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True)
    shown = {line.split()[0] for line in done.stdout.splitlines() if len(line.split()) > 2}
    assert shown >= {"run", "report", "sync", "ui", "list", "lr-find", "test", "check", "bench", "clean"}
