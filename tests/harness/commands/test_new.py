"""A new experiment's file: one that loads, asks the same runs, and claims nothing of the one it was copied from."""

from pathlib import Path

import pytest

from harness.__main__ import main
from harness.commands import new
from harness.plans import catalog
from harness.values import SpecError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("origin", catalog.names(ROOT))
def test_every_experiment_can_be_copied(origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same variants of the same recipe, a comment on each field; no published results, predictions or docstring."""
    monkeypatch.setattr("harness.__main__.ROOT", tmp_path)
    assert main(["new", "mine", f"--from={origin}"]) == 0
    made, old = catalog.load("mine", tmp_path), catalog.load(origin, ROOT)
    own = {"name", "published", "expected"}
    assert made.model_dump(exclude=own) == old.model_dump(exclude=own)
    assert (made.name, made.published, made.expected) == ("mine", (), {})
    text = (tmp_path / "experiments" / "mine.py").read_text()
    assert text.startswith('"""TODO: the question')
    asked = [field for field in new.COMMENTS if f"\n    {field}=" in text]
    assert {"base", "baseline", "seeds"} <= set(asked)
    for field in asked:
        assert f"    # {new.COMMENTS[field]}\n    {field}=" in text
    assert "SOURCE" not in text
    assert "Published" not in text


@pytest.mark.parametrize(
    ("name", "origin", "said"),
    [
        ("Mine", "", "EXP must be small letters, digits and underscores, 64 at most; got 'Mine'"),
        ("../mine", "", "EXP must be small letters, digits and underscores, 64 at most; got '../mine'"),
        ("there", "", "EXP 'there' is there already, in experiments/there.py; choose another name"),
        ("mine", "quickstrat", "FROM must name an experiment; got 'quickstrat'; did you mean 'quickstart'?"),
        ("mine", "there", "FROM 'there' has no EXPERIMENT = Experiment(...) to begin with; take another"),
    ],
)
def test_what_cannot_be_made_is_one_line(
    name: str, origin: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Nothing is written then."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "there.py").write_text("EXPERIMENT = 1\n")
    monkeypatch.setattr("harness.__main__.ROOT", tmp_path)
    assert main(["new", name, f"--from={origin}"]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"
    assert [path.name for path in (tmp_path / "experiments").iterdir()] == ["there.py"]


def test_a_copy_that_would_not_load_is_not_left(tmp_path: Path) -> None:
    """An experiment that is broken is refused with its own fault."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "bad.py").write_text("from harness import Experiment\n\nEXPERIMENT = Experiment()\n")
    chosen = type("Chosen", (), {"experiment": "mine", "origin": "bad"})
    with pytest.raises(SpecError, match=r"^FROM 'bad' cannot be copied: experiments/mine.py line \d+: "):
        new.act(chosen, tmp_path)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "experiments" / "mine.py").exists()
