"""What the documents tell a reader to type, and what a test types in its place.

A command of a document that stands in none of these tables fails a test, and so does an entry that no document has. An
empty entry is typed as it stands. In the others a placeholder has a real value: "{key}" is the key of a finished run,
"{keys}" are two more, "{port}" a free port, "{here}" the project's folder; and what takes hours has few epochs, few
seeds, small images or its short form.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

PROGRAMS = ("make", "harness", "pip", "python", "mlflow", "docker", "export", "systemctl", "pre-commit")
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_IN_PYTHON = re.compile(r"Command: (make .*?)\.(?:\s|$)")
_COMMENT = re.compile(r"\s+#.*$")

QUICK: Mapping[str, str] = {
    "make help": "",
    "make new EXP=my_question FROM=quickstart": "",
    "make results EXP=quickstart": "",
    "make compare CSV=results.csv METRIC=test_acc": "",
    "make predict RUN=<key> IMAGES=photos": "make predict RUN={key} IMAGES=photos",
}
"""Executed by the default suite, in this order, after QUICKSTART."""

QUICKSTART = "make run EXP=quickstart"
SHORT_QUICKSTART = "make run EXP=quickstart SEEDS=1 VARIANTS=batch SET=epochs=1"
"""The run, in every project of these tests, whose results other commands show, export and explain."""

_PNG, _TITLED = "DATA=folder:data/cifar10-png", "data.title='CIFAR-10' threads=1 step=eager"
_NARROW = f"{_TITLED} memory_format=channels_last model.width=16"
_FIXED = "optimizer.lr=0.03 lr_finder=null"
_SMALL = "model.width=16 lr_finder.iterations=20 epochs=1"
_WAIT = "until .venv/bin/python -c 'import urllib.request as u; u.urlopen(\"http://127.0.0.1:{port}/health\")' 2>&-"
_ON_DIGITS = "DATA=digits VARIANTS=batch,group SET='epochs=1 data.mean=null data.std=null'"
_THEIRS = "MLFLOW=theirs VARIANT=params.norm SEED=params.seed METRIC=metrics.test_acc BASELINE=bn MARGIN=0.3"

LONG: Mapping[str, str] = {
    f'make run EXP=norm_comparison {_PNG} SET="{_TITLED}"':
        f'make run EXP=norm_comparison {_PNG} SEEDS=1 SET="{_TITLED} epochs=1"',
    "make run EXP=norm_comparison": f"make run EXP=norm_comparison {_PNG} SEEDS=1 VARIANTS=batch SET=epochs=1",
    "make run EXP=… JOBS=auto": "make run EXP=quickstart JOBS=auto VARIANTS=batch SET='epochs=1 batch_size=32'",
    'make report EXP="a b"': 'make report EXP="quickstart norm_comparison"',
    "make report EXP=… ROPE=1": "make report EXP=quickstart ROPE=1",
    "make plan EXP=quickstart": "make plan EXP=quickstart VARIANTS=layer",
    "make plan EXP=norm_comparison": f"make plan EXP=norm_comparison {_PNG} VARIANTS=layer",
    "make export RUN=<key>": "make export RUN={key}",
    "make explain RUN=<key>": "make explain RUN={key}",
    "make reproduce RUN=<key or MLflow id>": "make reproduce RUN={key}",
    "make reproduce RUN=<key>": "make reproduce RUN={key}",
    "make prune EXP=quickstart OLDER=30": "",
    "make migrate TO=…": "make migrate TO=sqlite:///{here}/other.db",
    "make sync": "",
    "make list": "",
    "make list MODEL=resnet": "",
    "make list MODEL=wide_cnn": "",
    "make data DATA=folder:PATH": "make data DATA=folder:path/to/images",
    "make lr-find EXP=resnet_onecycle": f"make lr-find EXP=resnet_onecycle {_PNG} VARIANTS=plain SET='{_SMALL}'",
    'make run EXP=resnet_onecycle DATA=folder:path/to/images SEEDS=2 VARIANTS=plain SET="epochs=2 batch_size=256 '
    'optimizer.lr=1e-3"':
        "make run EXP=resnet_onecycle DATA=folder:path/to/images SEEDS=1 VARIANTS=plain SET='epochs=1 batch_size=256 "
        "optimizer.lr=1e-3 model.width=16'",
    f"make compare {_THEIRS}": f".venv/bin/python theirs.py && make compare {_THEIRS}",
    "make run EXP=norm_comparison JOBS=2": f"make run EXP=norm_comparison JOBS=2 SEEDS=1 {_ON_DIGITS}",
    "make run EXP=norm_comparison RAY=local": f"make run EXP=norm_comparison RAY=local SEEDS=2 {_ON_DIGITS}",
    'make run EXP=norm_comparison SLURM="partition=gpu time=2:00:00 runs=4"':
        f"make run EXP=norm_comparison SLURM=local SEEDS=3 {_ON_DIGITS}",
    "make run EXP=nesterov": "make run EXP=nesterov SEEDS=1 SET=epochs=1",
    "make run EXP=norm_comparison UNTIL=decided MAX_SEEDS=20":
        f"make run EXP=norm_comparison UNTIL=decided MAX_SEEDS=7 {_PNG} VARIANTS=batch,group SET=epochs=1",
    'make run EXP=augmentation_ablation DATA=digits SET="model.name=torchvision/mobilenet_v3_small optimizer.lr=1e-3 '
    'lr_finder=null epochs=2"':
        "make run EXP=augmentation_ablation DATA=digits SEEDS=1 VARIANTS=none SET='model.name="
        "torchvision/mobilenet_v3_small optimizer.lr=1e-3 lr_finder=null epochs=1'",
    "make list MODEL=timm/resnet18": "",
    'make run EXP=augmentation_ablation DATA=digits SET="model.name=my_package.nets:make optimizer.lr=1e-3 '
    'lr_finder=null epochs=2"':
        "make run EXP=augmentation_ablation DATA=digits SEEDS=1 VARIANTS=none,crop SET='model.name="
        "my_package.nets:make optimizer.lr=1e-3 lr_finder=null epochs=2'",
    'make data DATA=csv:path/to/table.csv SET="data.image_size=32"': "",
    "make run EXP=quickstart DATA=npz:path/to/images.npz":
        "make run EXP=quickstart DATA=npz:path/to/images.npz SEEDS=1 VARIANTS=batch SET=epochs=1",
    f'make run EXP=norm_tuned {_PNG} SET="{_TITLED}"':
        f'make run EXP=norm_tuned {_PNG} SEEDS=1 VARIANTS=batch SET="{_TITLED} epochs=1"',
    f'make run EXP=norm_by_dropout SEEDS=6 {_PNG} SET="{_TITLED}"':
        f'make run EXP=norm_by_dropout SEEDS=1 VARIANTS=batch_0,group_0 {_PNG} SET="{_TITLED} epochs=1"',
    f'make run EXP=resnet_onecycle SEEDS=1 VARIANTS=plain {_PNG} SET="{_TITLED}"':
        f'make run EXP=resnet_onecycle SEEDS=1 VARIANTS=plain {_PNG} SET="{_TITLED} {_SMALL}"',
    f'make run EXP=resnet_94 SEEDS=3 VARIANTS=tuned {_PNG} SET="{_TITLED}"':
        f'make run EXP=resnet_94 SEEDS=1 VARIANTS=tuned {_PNG} SET="{_TITLED} model.width=16 epochs=1"',
    f'make run EXP=resnet_dropout UNTIL=decided MAX_SEEDS=14 {_PNG} SET="{_TITLED} model.width=16 epochs=5 '
    'optimizer.lr=0.03 lr_finder=null"':
        f'make run EXP=resnet_dropout UNTIL=decided MAX_SEEDS=7 {_PNG} VARIANTS=none,dropout_10 SET="{_TITLED} '
        'model.width=8 epochs=1 optimizer.lr=0.03 lr_finder=null"',
    f'make run EXP=augmentation_ablation {_PNG} SET="{_NARROW} epochs=5 {_FIXED}"':
        f'make run EXP=augmentation_ablation {_PNG} SEEDS=1 VARIANTS=none SET="{_NARROW} epochs=1 {_FIXED}"',
    f'make run EXP=onecycle_endings {_PNG} SET="{_NARROW} epochs=5 {_FIXED}"':
        f'make run EXP=onecycle_endings {_PNG} SEEDS=1 VARIANTS=two_phase SET="{_NARROW} epochs=1 {_FIXED}"',
    f'make run EXP=lr_finder_start {_PNG} SET="{_NARROW} epochs=5"':
        f'make run EXP=lr_finder_start {_PNG} SEEDS=1 VARIANTS=fixed,from_3e2 SET="{_NARROW} epochs=1"',
    'make run EXP=mnist_step VARIANTS=step_15 SET="threads=1 step=eager"':
        "make run EXP=mnist_step SEEDS=1 DATA=npz:path/to/grey.npz VARIANTS=step_15 SET='epochs=1 threads=1 "
        "step=eager'",
    "make report-check UPDATE=1": "",
    "make house": "",
    "make test": "PYTEST_ADDOPTS='-n 0 tests/harness/test_values.py' make test",
    "make check": "PYTEST_ADDOPTS='-n 0 tests/harness/test_values.py' make check",
    "mlflow db upgrade <BACKEND>": ".venv/bin/mlflow db upgrade sqlite:///{here}/other.db",
    "make migrate FROM=sqlite:////old/mlflow.db TO=postgresql://…":
        "make migrate FROM=sqlite:///{here}/other.db TO=sqlite:///{here}/third.db",
    "make migrate TO=http://mlflow.example:5000":
        "make server BACKEND=sqlite:///{here}/far.db ARTIFACTS={here}/far PORT={port} & "
        f"{_WAIT}; do sleep 1; done; make migrate TO=http://127.0.0.1:{{port}}",
    "export MLFLOW_TRACKING_URI=http://mlflow.example:5000 MLFLOW_TRACKING_USERNAME=… MLFLOW_TRACKING_PASSWORD=…":
        "export MLFLOW_TRACKING_URI=sqlite:///{here}/all.db MLFLOW_TRACKING_USERNAME=a MLFLOW_TRACKING_PASSWORD=b; "
        "make sync",
    "make bench":
        ".venv/bin/python -m pip install --quiet --no-deps --target={here}/lightning "
        "pytorch-lightning lightning-utilities torchmetrics && "
        "PYTHONPATH={here}/lightning .venv/bin/python -m tests.bench --quick",
    "make bench-grid": ".venv/bin/python -m tests.bench.grid 1 2 1 4 || test $? = 1  # slower than promised: too short",
    "make bench-growth": ".venv/bin/python -m tests.bench.growth --seeds 1 --out {here}",
    "make bench-growth SECTIONS=postgresql": ".venv/bin/python -m tests.bench.growth --seeds 1 --out {here} postgresql",
    "make chaos": "make chaos SECTIONS=parallel",
    "make chaos SECTIONS=team": "",
    "make test-engines": "PYTEST_ADDOPTS='-k partition' make test-engines",
    "make simulate": "",
    'make forget RUN="<key> <key>"': 'make forget RUN="{keys}"',
}  # fmt: skip
"""Executed by `make test-documents`, in this order."""

SERVERS: Mapping[str, str] = {
    "make ui": "make ui PORT={port}",
    "make server BACKEND=… ARTIFACTS=…":
        "make server BACKEND=sqlite:///{here}/team.db ARTIFACTS={here}/team PORT={port}",
    "make server ARTIFACTS=/srv/harness-artifacts AUTH=1 HOSTS=mlflow.example":
        "export BACKEND=sqlite:///{here}/safe.db MLFLOW_AUTH_ADMIN_PASSWORD=twelve-letters-or-more; "
        "make server ARTIFACTS={here}/safe AUTH=1 HOSTS=localhost PORT={port}",
}  # fmt: skip
"""By `make test-documents` too: started, asked whether they are well, and ended by Ctrl-C."""

INSTALLED: Mapping[str, str] = {
    "pip install .": "pip install {here}",
    "pip install '.[export,explain]'": "pip install '{here}[export,explain]'",
    "harness new EXP=my_question FROM=norm_comparison": "",
    "harness run EXP=my_question SEEDS=2": f"harness run EXP=my_question {_ON_DIGITS} SEEDS=2",
}
"""By `make test-documents` too: in an empty folder, in a new environment that holds nothing."""

SHOWN = (
    "harness report EXP=my_question",
    "harness results EXP=my_question",
    f"harness plan EXP=my_question {_ON_DIGITS} SEEDS=3",
)
"""After them: what shows the runs that they have made, and what more would take."""

INSIDE: Mapping[str, str] = {
    "export BACKEND=postgresql://mlflow@127.0.0.1/mlflow PGPASSWORD=…":
        "make server ARTIFACTS=/srv/harness-artifacts AUTH=1 HOSTS=mlflow.example",
    "make lint": "make check",
}  # fmt: skip
"""Executed as a part of another command: here is which."""

NOT_HERE: Mapping[str, str] = {
    "make extras": "installs into this environment; the set-up of the tests installs by the same rule of the Makefile",
    "make run EXP=… RAY=ray://head:10001": "needs machines; make test-engines makes a cluster of three on this one",
    "docker compose up -d --scale ray-worker=2": "needs Docker; tests/test_deployment.py reads the file",
    "docker compose run --rm driver python -m harness run --ray=ray://ray-head:10001 -- quickstart": "needs Docker",
    "systemctl enable --now mlflow-server": "needs systemd and root; tests/test_deployment.py reads the units",
    "make test-documents": "executes all of these",
    "pre-commit install": "needs the program pre-commit, which the project does not require",
}
"""Not executed, and why."""

KNOWN = {QUICKSTART, *QUICK, *LONG, *SERVERS, *INSTALLED, *INSIDE, *NOT_HERE}


def commands(texts: Iterable[str]) -> set[str]:
    """Every command in the documents' blocks and code spans, as one would type it: in one line, without a comment.

    A verb alone is a mention, as in "`make data` shows it", if the documents have a longer command of that verb and no
    table has the verb alone.
    """
    found = {_COMMENT.sub("", " ".join(each.split())) for text in texts for each in _typed(text)}
    longer = {" ".join(each.split(" ")[:2]) for each in found if each.count(" ") > 1}
    return {each for each in found if each.count(" ") > 1 or each not in longer or each in KNOWN}


def _typed(text: str) -> Iterator[str]:
    for language, block in _FENCED.findall(text):
        if language == "python":
            yield from _IN_PYTHON.findall(block)
        elif not language:
            lines = block.splitlines()
            known = [line for line in lines if line.split(" ")[0] in PROGRAMS]
            assert known in ([], lines), f"a block is of commands or of something else: {block}"
            yield from known
    spans = (" ".join(span.split()) for span in _SPAN.findall(_FENCED.sub("", text)))
    yield from (span for span in spans if span.split(" ")[0] in PROGRAMS and " " in span)


def variables(makefile: str) -> dict[str, set[str]]:
    """The variables that each of the Makefile's targets reads; a target that reads none is absent."""
    (planned,) = re.findall(r"^PLANNED := (.*)$", makefile, re.MULTILINE)
    found = re.findall(r"^READ_([a-z-]+) := (.*)$", makefile, re.MULTILINE)
    return {target: set(names.replace("$(PLANNED)", planned).split()) for target, names in found}
