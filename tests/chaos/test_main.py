"""`make chaos` itself: sections by name, a table that grows, a status that tells."""

import json
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

import tests.chaos.__main__ as chaos
from tests.chaos.table import Row, markdown


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the tables of two made-up sections go: "good" keeps its promise, "bad" does not."""

    def add(name: str, held: int) -> None:
        module = ModuleType(f"tests.chaos.{name}")

        def rows(counts: int, folder: Path) -> Iterator[Row]:
            (folder / "left").touch()
            yield Row(f"{name} promise", counts, held, "why")

        module.__spec__ = ModuleSpec(module.__name__, None)
        vars(module).update(rows=rows, FULL=3)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(chaos.SECTIONS, name, f"The {name} section")

    add("bad", 2)
    add("good", 3)
    monkeypatch.setattr(chaos, "PROJECT", tmp_path)
    return tmp_path / "reports" / "out" / "chaos"


def test_sections_are_merged_into_one_table(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A section made later, or again, takes its place beside the others; 1 as long as it breaks a promise."""
    assert chaos.main(["good"]) == 0
    assert chaos.main(["bad"]) == 1
    made = json.loads((out / "chaos.json").read_text())
    assert [*made] == ["bad", "good"]
    assert made["good"]["rows"] == [{"promise": "good promise", "tried": 3, "held": 3, "detail": "why"}]
    table = (out / "README.md").read_text()
    assert "## The bad section\n\n`make chaos SECTIONS=bad`, 2" in table
    assert "| bad promise | 3 | **2** | why |" in table
    assert "| good promise | 3 | 3 | why |" in table
    assert "## Not tried in full yet\n\nKilled and stopped, Damaged checkpoints, Disks that fail" in table
    said = capsys.readouterr().out
    assert "NOT KEPT  2/3  bad promise  why\n" in said
    (left,) = (Path(line.rpartition(" ")[2]) for line in said.splitlines() if "is left in" in line)
    assert (left / "left").exists()
    assert chaos.main(["good bad"]) == 1


def test_an_unknown_section_is_one_line(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chaos.main(["kill"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: SECTIONS must be of kills, checkpoints, disk, ")
    assert error.endswith("; got 'kill'\n")
    assert error.count("\n") == 1
    assert not out.exists()


def test_what_a_detail_says_cannot_break_the_table() -> None:
    """Progress bars and error texts hold newlines, carriage returns and bars."""
    row = Row("it holds", 1, 1, "decoding:\r 0%|   |\r\ndone")
    assert markdown([row]).splitlines()[2:] == ["| it holds | 1 | 1 | decoding: 0%\\| \\| done |"]
