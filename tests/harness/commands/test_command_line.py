"""The command line: bad input is one line on stderr, status 2 and nothing left behind; what make passes on arrives.

Most cases call `main` in this process, on a copy of the project; a few start the real program.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import harness.__main__ as command_line
import models
from harness.__main__ import main
from harness.execution.execute import Outcome
from harness.plans import catalog
from harness.plans.spec import DATASETS

ROOT = Path(__file__).parents[3]


MODELS = ", ".join(models.names()) + ", torchvision/<name>, timm/<name> or <module>:<function>"


NO_ADDRESS = "http://127.0.0.1:abc"


Refuse = Callable[..., str]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, and an experiment that takes its recipe from one with a syntax error."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("harness", "models", "experiments"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "experiments" / "broken.py").write_text('"""Q?"""\n\nEXPERIMENT = Experiment(\n')
    (root / "experiments" / "uses_broken.py").write_text("from experiments.broken import EXPERIMENT\n")
    return root


def _left_behind(root: Path) -> set[Path]:
    """Every file but caches and locks."""
    files = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
    return {file for file in files if file.parts[0] != "data" and file.suffix not in (".pyc", ".lock")}


def _one_line(stderr: str) -> str:
    assert stderr.startswith("error: "), stderr
    assert len(stderr.splitlines()) == 1, stderr
    return stderr.removeprefix("error: ").rstrip("\n")


@pytest.fixture
def refuse(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Runs `main`, expects a refusal that leaves nothing behind, and returns what it said."""
    monkeypatch.setattr(command_line, "ROOT", project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def refused(*arguments: str) -> str:
        before = _left_behind(project)
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert _left_behind(project) == before
        return _one_line(err)

    return refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quickstrat"], "EXP must name a file in experiments/; got 'quickstrat'; did you mean 'quickstart'?"),
        (["../quickstart"], "EXP must name a file in experiments/; got '../quickstart'; did you mean 'quickstart'?"),
        (["quickstart", "--variants=layer, bacth"], "VARIANTS must be variants of 'quickstart', separated by commas; "
         "got 'bacth'; did you mean 'batch'?"),
        (["quickstart", "--seeds=0..9"], "SEEDS must be how many, as SEEDS=5, or which, as SEEDS=0,1,7, in numbers "
         "below a billion; got '0..9'"),
        (["quickstart", "--variants=,"], "VARIANTS must be names separated by commas; got ','"),
        (["quickstart", "--seed=2"], "unrecognized arguments: --seed=2 (see: make help)"),
        (["quickstart", "--workers=two"], "WORKERS must be a whole number below a billion; got 'two'"),
        (["quickstart", "--seeds=0"], "SEEDS must be 1..1000; got 0"),
        (["quickstart", "--seeds=,"], "SEEDS must be different numbers below 2147483648; got none"),
        (["quickstart", "--seeds=1,1"], "SEEDS must be different numbers below 2147483648; got 1,1"),
        (["quickstart", "--jobs=0"], "JOBS must be 1..1024, or auto; got '0'"),
        (["quickstart", "--jobs=abc"], "JOBS must be 1..1024, or auto; got 'abc'"),
        (["quickstart", "--jobs=99999999999"], "JOBS must be 1..1024, or auto; got '99999999999'"),
        (["quickstart", "--jobs=2", "--ray=local"],
         "JOBS and RAY cannot be given together: each says where runs are made; choose one"),
        (["quickstart", "--set=jobs=2"], "`jobs` is set by JOBS, RAY or SLURM; got 2 in SET"),
        (["quickstart", "--ray=here"], "RAY must be local, auto or ray://host:port; got 'here'"),
        (["quickstart", "--ray=local", "--ray-gpu=2"],
         "RAY_GPU must be a share of a GPU, above 0 and at most 1; got '2'"),
        (["quickstart", "--ray-gpu=0.5"],
         "RAY_GPU is a share of a GPU for each run on Ray, so it needs RAY=local; got '0.5'"),
        (["quickstart", "--slurm=partitio=gpu"],
         "SLURM must be local or options of account, constraint, gres, mem, nodelist, partition, qos, reservation, "
         "time, runs; got 'partitio=gpu'; did you mean 'partition'?"),
        (["quickstart", "--slurm=partition"],
         "SLURM must give each option a value, as in partition=gpu time=60; got 'partition'"),
        (["quickstart", "--slurm=local runs=0"], "SLURM's runs must be 1..1000, the runs of one job; got '0'"),
        (["quickstart", "--set=epocs=2"], "`epocs` is not a field; did you mean 'epochs'?"),
        (["quickstart", "--set=epochs=two"], "`epochs` must be a valid integer; got 'two'"),
        (["quickstart", "--set=batch_size=0"], "`batch_size` must be greater than or equal to 1; got 0"),
        (["quickstart", "--set=batch_size=1439"],
         "`batch_size` must be 1..1438, the training images of 'digits'; got 1439"),
        (["quickstart", "--set=device=tpu"], "`device` must be auto, cpu, mps, cuda or cuda:<number>; got 'tpu'"),
        (["quickstart", "--set=device=cuda:99"],
         "`device` 'cuda:99' is not on this machine ({cuda} of its kind); use device=cpu or auto"),
        (["quickstart", "--set=model.norm=group"],
         "`model.norm` is what the variants of 'quickstart' differ in; choose among them with VARIANTS=batch,group,"
         "layer"),
        (["quickstart", "--set=model.droput=0.1"],
         "`model.droput` is not an option of norm_cnn (norm, dropout, head, in_channels, image_size, classes); "
         "did you mean 'dropout'?"),
        (["quickstart", "--set=model.dropout=high"], "`model.dropout` must be a number; got 'high'"),
        (["resnet_dropout", "--data=digits", "--set=model.name=resnt"],
         f"`model.name` must be one of {MODELS}; got 'resnt'; did you mean 'resnet'?"),
        (["quickstart", "--set='a\nb'=1"],
         "`a b` is not a field; its fields: data, model, optimizer, schedule, augmentation, lr_finder, epochs, "
         "batch_size, label_smoothing, clip_norm, ema_decay, test_time_flip, precision, device, threads, "
         "memory_format, step, augment_backend, jobs"),
        (["quickstart", "--until=later"], "UNTIL must be decided; got 'later'"),
        (["quickstart", "--max-seeds=9"], "MAX_SEEDS needs UNTIL=decided; for a fixed number of seeds use SEEDS"),
        (["quickstart", "--until=decided", "--seeds=9"],
         "SEEDS and UNTIL=decided exclude each other; MAX_SEEDS limits the seeds of a variant"),
        (["quickstart", "--until=decided", "--max-seeds=6"],
         "MAX_SEEDS must be 7..1000, as the first look is at 7; got 6"),
        (["quickstart", "--until=decided", "--variants=group"],
         "VARIANTS must hold the baseline 'batch' where UNTIL=decided is given"),
        (["norm_tuned", "--set=optimizer.lr=0.1"],
         "`optimizer.lr` is tuned by 'norm_tuned', so SET cannot give it a value; leave it out"),
        (["norm_tuned", "--set=data.validation_fraction=0.1 data.scored_on=held_out"],
         "`data.scored_on` must be 'test', as 'held_out' is for the trials of a tuning alone; got 'held_out' "
         "(experiment 'norm_tuned', variant 'batch')"),
        (["quickstart", "--sed=2"], "unrecognized arguments: --sed=2 (see: make help)"),
        (["quickstart", "--data=digts"],
         f"`data.name` must be one of {', '.join(DATASETS)}, folder:PATH, csv:PATH, "
         "npz:PATH or torchvision/<name>; got 'digts'; "
         "did you mean 'digits'?"),
        (["broken"], "experiments/broken.py line 3: '(' was never closed; correct it and run again"),
    ],
    ids=lambda value: value[-1][:40] if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_input_is_one_line(refuse: Refuse, arguments: list[str], said: str) -> None:
    """Each way to mistype a command that trains: the words, status 2, no file but caches and locks."""
    assert refuse("run", *arguments) == said.replace("{cuda}", str(torch.cuda.device_count()))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--model=resnt"], f"MODEL must be one of {MODELS}; got 'resnt'; did you mean 'resnet'?"),
        (["forget", " "], "RUN must name one run or several by their keys, as a report's table of runs has them"),
        (["ui", "--port=http"], "PORT must be a whole number below a billion; got 'http'"),
        (["ui", "--port=0"], "PORT must be 1..65535; got 0"),
        (["ui", "--port=70000"], "PORT must be 1..65535; got 70000"),
        (["rnu", "quickstart"],
         "argument command: invalid choice: 'rnu' (choose from {choices}) (see: make help)"),
        ([], "the following arguments are required: command (see: make help)"),
        (["run"], "the following arguments are required: EXP (see: make help)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_other_commands_refuse_alike(refuse: Refuse, arguments: list[str], said: str) -> None:
    """Also where argparse would print its usage and end the program itself."""
    line = refuse(*arguments)
    names = ", ".join(["run, lr-find, list, reproduce, forget, sync", *command_line.OWN_FILES])
    choices = (re.sub(r"[a-z-]+", r"'\g<0>'", names), names)  # Python 3.12 changed its mind
    assert line in [said.replace("{choices}", each) for each in choices]


ODD = os.fsdecode(b"caf\xe9")
"""A name as a system with another encoding has it."""


@pytest.mark.parametrize("command", [["run", "quickstart"], ["sync"], ["list"], ["data"]], ids=" ".join)
def test_a_project_folder_that_is_not_utf8_is_one_line(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its name would stand in addresses, records and pages; nothing is made there."""
    monkeypatch.setattr(command_line, "ROOT", tmp_path / ODD)
    assert main(command) == 2
    said = rf"the project's folder must have a name in UTF-8; got '{tmp_path}/caf\udce9': rename it"
    assert _one_line(capsys.readouterr().err) == said
    assert not (tmp_path / ODD).exists()


@pytest.mark.parametrize("kind", ["folder", "csv", "npz"])
@pytest.mark.parametrize("command", [["run", "quickstart"], ["data"]], ids=lambda command: command[0])
def test_data_whose_path_is_not_utf8_are_one_line(refuse: Refuse, command: list[str], kind: str) -> None:
    said = refuse(*command, f"--data={kind}:{ODD}")
    assert said == rf"`data.name` must be in UTF-8; got '{kind}:caf\udce9': rename what it names"


LONG = "x" * 5000


@pytest.mark.parametrize(
    "arguments",
    [
        *(["run", LONG], ["run", LONG + "/" + LONG], ["run", "a " * 2500]),
        *(["run", "quickstart", f"--variants={LONG}"], ["run", "quickstart", "--variants=" + "ab," * 1700]),
        *(["run", "quickstart", f"--set={LONG}={LONG}"], ["run", "quickstart", f"--set=epochs={LONG}"]),
        *(["run", "quickstart", f"--set={LONG}"], ["run", "quickstart", f"--set=model.name={LONG}"]),
        *(["run", "quickstart", f"--set=model.{LONG}=1"], ["run", "quickstart", f"--seeds={LONG}"]),
        *(["run", "quickstart", f"--{LONG}"], [LONG], ["run", "quickstart", f"--jobs={LONG}"]),
        *(["run", "quickstart", f"--seeds={'7,' * 2500}"], ["run", "quickstart", f"--slurm={LONG}"]),
        *(["run", "quickstart", f"--data={kind}{LONG}"] for kind in ("", "folder:", "csv:", "npz:", "torchvision/")),
        *(["data", f"--data={kind}{LONG}"] for kind in ("", "folder:", "csv:", "npz:", "torchvision/")),
        *([verb, LONG] for verb in ("reproduce", "predict", "export", "explain", "plan", "prune", "forget", "new")),
        ["list", f"--model={LONG}"],
    ],
    ids=lambda arguments: " ".join(each[:22] for each in arguments),
)  # fmt: skip
def test_a_name_of_thousands_of_characters_is_not_repeated_whole(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """One line that a screen holds, whichever command reads the name."""
    monkeypatch.setattr(command_line, "ROOT", project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(arguments) == 2
    assert len(_one_line(capsys.readouterr().err)) < 900


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("FIGURES", "FIGURES must be pdf, svg or left out; got 'gif'"),
        ("ROPE", "ROPE must be 1 or left out; got 'gif'"),
    ],
)
def test_what_the_report_would_refuse_is_refused_before_the_training(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.setenv(name, "gif")
    assert refuse("run", "quickstart") == said


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("here", "`TO` must be a database or a server (sqlite:///…, http://…); got 'here'"),
        ("sqlite:///{root}/runs/../mlflow.db", "FROM and TO must be two stores; they are the same"),
    ],
)
def test_a_store_is_not_copied_into_itself(refuse: Refuse, project: Path, to: str, said: str) -> None:
    """However it is spelled: its runs would be marked as copied, and somebody would believe in a backup."""
    assert refuse("migrate", f"--to={to.format(root=project)}") == said


@pytest.mark.parametrize("arguments", [["run", "quickstart"], ["sync"]], ids=" ".join)
def test_a_store_that_can_never_answer_is_refused(
    refuse: Refuse, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is trained or written."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NO_ADDRESS)
    said = "`MLFLOW_TRACKING_URI` must be a server's address, as http://127.0.0.1:5000; got 'http://127.0.0.1:abc'"
    assert refuse(*arguments) == said


def test_sync_without_a_server_fails_in_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, so that a script notices; nothing to deliver is no failure."""
    monkeypatch.setattr(command_line, "ROOT", project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert main(["sync"]) == 0
    assert capsys.readouterr().out == "0 runs here: 0 brought up to date\n"
    (project / "runs" / "quickstart" / "key").mkdir(parents=True)
    (project / "runs" / "quickstart" / "key" / "journal.jsonl").touch()
    assert main(["sync"]) == 1
    said = capsys.readouterr().out
    assert said.startswith(
        "1 runs here: 0 brought up to date, 1 not delivered: the tracking server 'http://127.0.0.1:9'"
    )
    shutil.rmtree(project / "runs" / "quickstart")


def test_a_full_disk_is_one_line(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system names its file and what to do."""

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "/project/runs")

    monkeypatch.setattr(catalog, "load", full)
    said = "No space left on device: /project/runs (free or mend it, then run again)"
    assert refuse("run", "quickstart") == said


@pytest.mark.parametrize(
    ("experiment", "server", "said"),
    [
        ("uses_broken", "", "experiments/broken.py line 3: '(' was never closed; correct it and run again"),
        ("quickstart", "file:///runs",
         "`MLFLOW_TRACKING_URI` must be a database or a server (sqlite:///…, http://…); got 'file:///runs'"),
    ],
    ids=["syntax error", "no store"],
)  # fmt: skip
def test_the_real_program_refuses(project: Path, experiment: str, server: str, said: str) -> None:
    """As a process of its own: nothing on stdout, one line on stderr, no warning of a library, status 2."""
    before = _left_behind(project)
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", "--", experiment],
        cwd=project,
        env=os.environ | {"MLFLOW_TRACKING_URI": server},
        capture_output=True,
        text=True,
    )
    assert (_one_line(done.stderr), done.stdout, done.returncode) == (said, "", 2)
    assert _left_behind(project) == before


@pytest.mark.parametrize(
    ("failed", "undelivered", "said"),
    [
        (["a"], 0, "1 of 9 runs have no result: see above"),
        ([], 2, "MLflow lacks what 2 folders of runs/ hold; deliver it, once the store works, with: make sync"),
        (["a"], 2, "1 of 9 runs have no result: see above; MLflow lacks what 2 folders of runs/ hold; deliver it, "
                   "once the store works, with: make sync"),
    ],
)  # fmt: skip
def test_all_that_went_wrong_is_one_line(
    failed: list[str],
    undelivered: int,
    said: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run that failed and a store that was not reached, as when a disk is full, are told together."""
    monkeypatch.setattr(command_line, "ROOT", project)
    monkeypatch.setattr("harness.execution.check.check", lambda planned, _: (planned, {}))
    monkeypatch.setattr("harness.execution.settle.settle", lambda planned, *_: planned)
    monkeypatch.setattr("harness.tracking.tracker.Tracker", lambda _: None)
    monkeypatch.setattr("harness.execution.execute.execute", lambda *_: Outcome(failed=failed, undelivered=undelivered))
    assert main(["run", "quickstart"]) == 1
    assert _one_line(capsys.readouterr().err) == said


def test_list_shows_every_model_and_question(capsys: pytest.CaptureFixture[str]) -> None:
    """Models with parameters, multiply-adds, receptive field and options; experiments with their questions; one model
    layer by layer on request."""
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    resnet = next(line for line in lines if line.startswith("resnet "))
    assert "6,573,120 parameters" in resnet
    assert "379.26 M multiply-adds  receptive field 88  options: " in resnet
    assert "head_bias=False" in resnet
    assert any(line.startswith("quickstart ") and line.endswith("small handwritten digits?") for line in lines)
    assert main(["list", "--model=mnist_cnn"]) == 0
    assert "593,200" in capsys.readouterr().out


def test_list_goes_on_past_a_broken_experiment(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is listed with what is wrong with it, and the status says that something is."""
    monkeypatch.setattr(command_line, "ROOT", project)
    assert main(["list"]) == 2
    lines = capsys.readouterr().out.splitlines()
    said = "cannot be read: experiments/broken.py line 3: '(' was never closed; correct it and run again"
    assert f"{'broken':<22} {said}" in lines
    assert any(line.startswith("quickstart ") for line in lines)


def test_a_broken_models_file_is_named_and_harms_no_other(project: Path) -> None:
    """The real program: its line stands among the models, and one beside it is found by itself."""
    broken, whole = project / "models" / "mine.py", project / "models" / "yours.py"
    broken.write_text("from models.registry import register\n\n\n@register\ndef mine(depth=3):\n    ...\n")
    options = "in_channels: int = 3, image_size: int = 32, classes: int = 10"
    whole.write_text(
        "from torch import nn\n\nfrom models.registry import register\n\n\n@register\n"
        f"def yours({options}) -> nn.Module:\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, classes))\n"
    )

    command = [sys.executable, "-m", "harness", "list"]
    try:
        listed = subprocess.run(command, cwd=project, capture_output=True, text=True)
    finally:
        broken.unlink()
        whole.unlink()
    said = (
        "models/mine.py: model 'mine' in models.mine must take the keyword arguments classes, image_size, in_channels, "
        "which the data fill in"
    )
    assert f"cannot be imported: {said}" in listed.stdout.splitlines()
    assert any(line.startswith("yours            30,730 parameters") for line in listed.stdout.splitlines())
    assert listed.returncode == 2


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 130, as shells expect, and no traceback."""

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog, "load", interrupt)
    assert main(["run", "quickstart"]) == 130
    assert capsys.readouterr().err == ""
