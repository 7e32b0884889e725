"""Experiments on disk: found by name and nothing else, and every fault in a file told by file and line."""

from pathlib import Path

import pytest

import experiments
from harness.plans.catalog import load, names
from harness.values import SpecError

FILE = '''"""A question."""
from harness import SGD, Data, Experiment, Model, Recipe

EXPERIMENT = Experiment(
    name="{name}",
    question="?",
    base=Recipe(data=Data(name="digits"), model=Model(name="norm_cnn"), optimizer=SGD(lr=0.1), epochs={epochs}),
    variants={{"a": {{}}}},
    factor=(),
    baseline="a",
    seeds=(0,),
)
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with two experiments."""
    (tmp_path / "experiments").mkdir()
    for name in ("norm_comparison", "quickstart"):
        _write(tmp_path, name, FILE.format(name=name, epochs=1))
    return tmp_path


def _write(root: Path, name: str, text: str) -> None:
    (root / "experiments" / f"{name}.py").write_text(text)


def _refusal(root: Path, name: str) -> str:
    with pytest.raises(SpecError) as caught:
        load(name, root)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_an_experiment_is_loaded_by_its_name(root: Path) -> None:
    """The value in the file, unchanged."""
    assert load("quickstart", root).name == "quickstart"
    assert load("quickstart", root).base.epochs == 1


def test_only_files_with_a_proper_name_are_experiments(root: Path) -> None:
    """`__init__.py`, capitals, hidden files and other kinds of file are none; the list is sorted."""
    for name in ("__init__", "Upper", ".hidden", "with-dash"):
        _write(root, name, "")
    (root / "experiments" / "notes.txt").write_text("")
    assert names(root) == ("norm_comparison", "quickstart")
    assert names(root / "nowhere") == ()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("quikstart", "; did you mean 'quickstart'?"),
        ("norm_comparisons", "; did you mean 'norm_comparison'?"),
        ("zzz", "; there are norm_comparison, quickstart"),
        ("", "; there are norm_comparison, quickstart"),
        ("../quickstart", "; did you mean 'quickstart'?"),
        ("../experiments/quickstart", "; did you mean 'quickstart'?"),
        ("/etc/passwd", "; there are norm_comparison, quickstart"),
        ("quickstart\n", "; did you mean 'quickstart'?"),
        ("__init__", "; there are norm_comparison, quickstart"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(root: Path, name: str, hint: str) -> None:
    """A name is one of those listed, so no path leads out of the folder; close names are offered, else all."""
    _write(root, "__init__", "raise AssertionError('not an experiment')")
    (root / "quickstart.py").write_text("raise AssertionError('outside of experiments/')")
    assert _refusal(root, name) == f"EXP must name a file in experiments/; got {name!r}{hint}"


def test_no_experiments_at_all(tmp_path: Path) -> None:
    """An empty or missing folder is said as such."""
    assert _refusal(tmp_path, "quickstart") == "EXP must name a file in experiments/; got 'quickstart'; there are none"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("bad_syntax", '"""Doc."""\n\nx = (1,\ny = 2\n', " line 3: '(' was never closed; correct it and run again"),
        ("no_value", "x = 1\n", " must define EXPERIMENT = Experiment(...)"),
        ("other_value", "EXPERIMENT = {}\n", " must define EXPERIMENT = Experiment(...)"),
        ("other_name", FILE.format(name="mine", epochs=1), ": `name` must be the file's, 'other_name'; got 'mine'"),
        ("bad_value", FILE.format(name="bad_value", epochs=0),
         " line 7: `epochs` must be greater than or equal to 1; got 0"),
        ("bad_import", "from harness import Nothing\n",
         " line 1: ImportError: cannot import name 'Nothing' from 'harness' ({harness})"),
        ("no_import", "x = 1\nEXPERIMENT = Experiment()\n",
         " line 2: NameError: name 'Experiment' is not defined; begin the file with: from harness import Experiment"),
        ("unnamed", "from harness import Data\n\nData('digits')\n",
         " line 3: TypeError: BaseModel.__init__() takes 1 positional argument but 2 were given; give values by their "
         'names, as Data(name="digits")'),
        ("no_tuple", FILE.format(name="no_tuple", epochs=1).replace("seeds=(0,)", "seeds=[0, 1]"),
         " line 4: `seeds` must be a tuple, as (0, 1); got [0, 1]"),
        ("raises", "\n\nraise RuntimeError('first\\nsecond')\n", " line 3: RuntimeError: first second"),
        ("exits", "import sys\nsys.exit(0)\n", " line 2: SystemExit: 0"),
        ("divides", "def f():\n    return 1 / 0\n\n\nf()\n", " line 2: ZeroDivisionError: division by zero"),
    ],
)  # fmt: skip
def test_a_faulty_file_is_named_with_its_line(root: Path, name: str, text: str, said: str) -> None:
    """Whatever a file does wrong comes back as one line, and never ends the program by itself."""
    import harness

    _write(root, name, text)
    assert _refusal(root, name) == f"experiments/{name}.py" + said.replace("{harness}", str(harness.__file__))


def test_a_file_that_is_not_text_is_named(root: Path) -> None:
    """Bytes that are no Python source are a syntax error of that file."""
    (root / "experiments" / "binary.py").write_bytes(b"x = '\xff'\n")
    assert _refusal(root, "binary").startswith("experiments/binary.py")


@pytest.mark.parametrize(
    ("base", "text", "said"),
    [
        ("base_syntax", "x = 1\ny = = 2\n", "line 2: invalid syntax; correct it and run again"),
        ("base_value", FILE.format(name="base_value", epochs=0),
         "line 7: `epochs` must be greater than or equal to 1; got 0"),
    ],
)  # fmt: skip
def test_a_fault_in_an_imported_experiment_names_that_one(
    root: Path, monkeypatch: pytest.MonkeyPatch, base: str, text: str, said: str
) -> None:
    """Experiments take recipes from each other: the line names the file to be corrected, not the one that was asked."""
    monkeypatch.setattr(experiments, "__path__", [str(root / "experiments")])
    _write(root, base, text)
    _write(root, f"uses_{base}", f"from experiments.{base} import EXPERIMENT\n")
    assert _refusal(root, f"uses_{base}") == f"experiments/{base}.py {said}"
