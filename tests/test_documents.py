"""What README and docs tell a reader to type exists and parses; where they point to is there."""

import re
import shlex
from pathlib import Path

import pytest

import models
from harness.__main__ import parser
from harness.evidence import metrics
from harness.plans.spec import Experiment
from harness.values import SpecError

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
PROVED_BY = {
    "run": "tests/reports/test_end_to_end.py",
    "report": "tests/reports/test_end_to_end.py",
    "publish": "tests/reports/test_end_to_end.py",
    "reproduce": "tests/harness/commands/test_reproduce.py",
    "forget": "tests/harness/tracking/test_forget.py",
    "sync": "tests/harness/commands/test_command_line.py",
    "list": "tests/harness/commands/test_command_line.py",
    "compare": "tests/reports/test_compare.py",
    "new": "tests/harness/commands/test_new.py",
    "plan": "tests/harness/commands/test_plan.py",
    "predict": "tests/harness/commands/test_finished.py",
    "export": "tests/harness/commands/test_finished.py",
    "explain": "tests/harness/artifacts/test_explain.py",
    "prune": "tests/harness/commands/test_prune.py",
    "results": "tests/reports/test_main.py",
}
"""Targets that train, delete or need a store, and the test that runs what they run."""


def _commands(document: Path) -> list[list[str]]:
    """Every `make …` in a code span or a code block, as a shell would part it."""
    text = re.sub(r"<[^>\n]*>", "X", document.read_text())
    spans = re.findall(r"`(make [a-z-]+[^`\n]*)`", text) + re.findall(r"^(make [^\n]*)$", text, re.MULTILINE)
    return [shlex.split(span, comments=True) for span in spans]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_a_target_with_variables_that_it_reads(document: Path) -> None:
    """A renamed target or variable would leave a reader with an error."""
    for _, *words in _commands(document):
        goals = [word for word in words if "=" not in word]
        assert set(goals) <= TARGETS, words
        shared = re.findall(r"^GIVEN :?\+?= (.*)$", MAKEFILE, re.MULTILINE)[0].split()
        own = [
            n
            for goal in goals
            for line in re.findall(rf"^READ_{goal} := (.*)$", MAKEFILE, re.MULTILINE)
            for n in line.split()
        ]
        typed = {word.split("=")[0] for word in words if "=" in word}
        assert typed <= {*shared, *own}, words


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_run_command_parses(document: Path) -> None:
    """Its options are the program's, and SET can be parted as a shell does."""
    for _, goal, *words in _commands(document):
        if goal != "run":
            continue
        given = dict(word.split("=", 1) for word in words)
        options = [f"--{name.lower().replace('_', '-')}={value}" for name, value in given.items() if name != "EXP"]
        try:
            chosen = parser().parse_args(["run", *options, "--", given.get("EXP", "X")])
        except SpecError as error:
            pytest.fail(f"{words}: {error}")
        shlex.split(chosen.set)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?://|#)([^)\s#]+)", text)
    missing = [link for link in links if not (document.parent / link).exists()]
    assert missing == []


def test_readmes_experiment_model_and_metric_are_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block of Python can be pasted: the model gives logits, of grey images too; the metric judges."""
    monkeypatch.setattr(models.registry, "_BUILDERS", dict(models.registry._BUILDERS))
    monkeypatch.setattr(metrics.registry, "_METRICS", dict(metrics.registry._METRICS))
    pasted: dict[str, object] = {"__name__": __name__}
    for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE):
        exec(block, pasted)  # noqa: S102 our own README
    assert isinstance(pasted["EXPERIMENT"], Experiment)
    models.check("wide_cnn", {"width": 8, "in_channels": 1, "image_size": 28, "classes": 7})
    assert metrics.of_primary("test_top2_accuracy").problem(3) is None


def test_every_target_that_trains_or_deletes_names_its_test() -> None:
    """The list is kept by this: the tests are there, and the targets too."""
    assert set(PROVED_BY) <= TARGETS
    assert [path for path in PROVED_BY.values() if not (ROOT / path).is_file()] == []
