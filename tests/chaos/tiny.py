"""A project's folder with one small run in it, made in a second or two, in which every stream of randomness matters."""

import shutil
from functools import cache
from pathlib import Path

from tests.chaos.attempts import Attempt, Launcher
from tests.chaos.ending import Ending, ending

EXPERIMENT = """
from harness import Adam, Circumstances, Data, Experiment, LRFinder, Model, OneCycle, Recipe, Transform

EXPERIMENT = Experiment(
    name="chaos",
    question="Does it end as if nothing had happened?",
    base=Recipe(
        data=Data(name="digits", image_size=8, validation_fraction=0.1),
        model=Model(name="norm_cnn", head="gap", dropout=0.1),
        optimizer=Adam(lr="find"),
        lr_finder=LRFinder(start_lr=1e-4, end_lr=0.1, iterations=30, diverge_threshold=100.0, each_run=True),
        schedule=OneCycle(),
        augmentation=(
            Transform(name="Pad", padding=1),
            Transform(name="RandomCrop", height="image_height", width="image_width"),
            Transform(name="HorizontalFlip", p=0.5),
        ),
        epochs=3,
        batch_size=256,
        clip_norm=1.0,
    ),
    variants={"plain": {}},
    factor=(),
    baseline="plain",
    seeds=(0,),
    circumstances=Circumstances(device="cpu", threads=1),
)
"""
SHORT = ("run", "chaos", "--set=epochs=2 batch_size=700 optimizer.lr=0.01 lr_finder=null")
"""The same run in four steps, without a range test."""


class Projects:
    """Folders for attempts: all with the same data and a store that is ready to use, copied from a first one."""

    def __init__(self, folder: Path, launch: Launcher):
        """Makes the first one, with a run in it that nothing disturbs: `whole_run` does not pay for late imports."""
        self.folder, self.launch = folder, launch
        self._first = self._make("first")
        (self._first / "data").mkdir()
        assert launch(self._first, command=()).status == 0
        shutil.copy(self._first / "mlflow.db", folder / "empty.db")
        self.first = launch(self._first, learn=True)
        assert self.first.status == 0, self.first.stdout + self.first.stderr

    def new(self, name: str, store: bool = True) -> Path:
        """An empty project; without a `store` its first attempt makes one."""
        made = self._make(name)
        (made / "data").symlink_to(self._first / "data")
        if store:
            shutil.copy(self.folder / "empty.db", made / "mlflow.db")
        return made

    def copy(self, project: Path, name: str) -> Path:
        """A project as it stands, elsewhere."""
        return Path(shutil.copytree(project, self.folder / name, symlinks=True))

    @cache  # noqa: B019 — there is one of these a section
    def whole_run(self, command: tuple[str, ...] = ("run", "chaos")) -> tuple[Attempt, Ending]:
        """A run that nothing disturbs, made once, and what it comes to."""
        folder = self.new("whole " + " ".join(command))
        done = self.launch(folder, command=command)
        assert done.status == 0, done.stdout + done.stderr
        return done, ending(folder)

    def finish(self, folder: Path, command: tuple[str, ...] = ("run", "chaos")) -> bool:
        """Start the run again, once: that must be all it takes. Whether it finished."""
        return self.launch(folder, command=command).status == 0

    def _make(self, name: str) -> Path:
        made = self.folder / name
        (made / "experiments").mkdir(parents=True)
        (made / "experiments" / "chaos.py").write_text(EXPERIMENT)
        return made
