"""Tuning: the same budget for every variant, never a test image, resumed where it stopped, traps said."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from harness.data.load import HELD_OUT, load
from harness.execution import studies
from harness.execution.run import run_folder
from harness.execution.studies import Studies
from harness.execution.tune import tune
from harness.plans.experiment import Design
from harness.plans.plan import Plan
from harness.plans.spec import Circumstances, Data, Model, RunSpec
from harness.plans.tuning import FIRST_TRIAL_SEED, Choice, LogUniform, Range, Trial, Tuning
from harness.records.events import Diverged, Event, Failed, Scores
from harness.values import HarnessError
from tests.harness.execution.conftest import StandIn

SPACE: dict[str, Range] = {"optimizer.lr": LogUniform(1e-4, 1.0)}
Score = Callable[[RunSpec], float | None]


def near(best: float) -> Score:
    """Accuracy by the rate alone: highest at `best`, a tenth less for each factor of ten away from it."""
    return lambda spec: 0.9 - 0.1 * abs(math.log10(float(spec.recipe.optimizer.lr) / best))


AT_OWN = near(0.05)


@dataclass
class Maker(StandIn):
    """Runs have the validation accuracy that `score` gives; with None they diverge."""

    score: Score = field(kw_only=True)
    fails: str | None = None

    def _predict(self, folder: Path, share: float) -> None:
        """24 images of three classes, of which this share is right and the others are taken for the next class."""
        labels = np.arange(24) % 3
        predicted = (labels + (np.arange(24) >= round(24 * share))) % 3
        folder.mkdir(parents=True)
        np.savez(folder / "predictions.npz", logits=np.eye(3, dtype=np.float32)[predicted], labels=labels)

    def events(self, spec: RunSpec, design: Design) -> list[Event]:
        if spec.variant == self.fails:
            return [self.begun(spec, design), Failed(time=1.0, error="out of memory")]
        score = self.score(spec)
        if score is None:
            return [self.begun(spec, design), Diverged(time=1.0, step=3, where="train")]
        self._predict(run_folder(self.root, spec) / "artifacts", score)
        validation, test = Scores(loss=1 - score, accuracy=score), Scores(loss=1 - score, accuracy=1 - score)
        return self.scored(spec, design, validation=validation, test=test)


@pytest.fixture
def plan(spec: RunSpec, circumstances: Circumstances, design: Design) -> Plan:
    """Two norms, two seeds, four trials each; the recipe's own rate is 0.05."""
    made = []
    for norm in ("batch", "group"):
        recipe = spec.recipe.model_copy(update={"model": Model(name="norm_cnn", norm=norm)})
        made += [spec.model_copy(update={"variant": norm, "seed": seed, "recipe": recipe}) for seed in (0, 1)]
    design = design.model_copy(update={"variants": ("batch", "group"), "baseline": "batch"})
    return Plan(design, tuple(made), circumstances, (made[0], made[2]), Tuning(space=SPACE, trials=4))


@pytest.fixture
def maker(tmp_path: Path, events: list[Event]) -> Callable[..., Maker]:
    return lambda score=AT_OWN, **more: Maker(tmp_path, events, score=score, **more)


def trials(plan: Plan, variant: str) -> tuple[Trial, ...]:
    assert plan.tuned is not None
    return plan.tuned.of(variant)


def rates(plan: Plan) -> dict[str, float]:
    return {spec.variant: float(spec.recipe.optimizer.lr) for spec in plan.runs}


def test_every_variant_gets_the_same_trials_and_runs_with_its_best(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path
) -> None:
    """The same number, points and seeds for each; the first trial has the recipe's own rate; each variant's runs, and
    no others' images or fields, get the rate of its best trial."""
    make = maker(lambda spec: near(0.05 if spec.recipe.model.options["norm"] == "batch" else 1e-4)(spec))
    tuned, stopped = tune(plan, tmp_path, make)
    assert stopped is None
    assert [[(t.number, t.values, t.seed) for t in trials(tuned, v)] for v in ("batch",)] == [
        [(t.number, t.values, t.seed) for t in trials(tuned, "group")]
    ]
    assert len(make.made) == 8
    assert trials(tuned, "batch")[0].values == {"optimizer.lr": 0.05}
    assert rates(tuned)["batch"] == 0.05
    assert rates(tuned)["group"] == min(t.values["optimizer.lr"] for t in trials(tuned, "group"))
    assert [s.recipe.model_copy(update={"optimizer": plan.runs[0].recipe.optimizer}) for s in tuned.runs] == [
        s.recipe for s in plan.runs
    ]


def test_a_trial_never_sees_a_test_image(plan: Plan, maker: Callable[..., Maker], tmp_path: Path) -> None:
    """Every trial's recipe puts held-out training images in the place of the test images, and no trial shares a seed
    with a result; where test scores rank the rates the other way round, the held-out images' choice stands."""
    make = maker()
    tuned, _ = tune(plan, tmp_path, make)
    assert {(s.recipe.data.scored_on, s.recipe.data.validation_fraction) for s in make.made} == {("held_out", 0.1)}
    assert min(s.seed for s in make.made) >= FIRST_TRIAL_SEED > max(s.seed for s in tuned.runs)
    assert {s.experiment for s in make.made} == {"tiny_trial_tuning"}
    assert {s.recipe.data.scored_on for s in tuned.runs} == {"test"}
    assert set(rates(tuned).values()) == {0.05}


def scored_by(plan: Plan, metric: str) -> Plan:
    return replace(plan, design=plan.design.model_copy(update={"primary_metric": metric}))


def test_trials_are_scored_by_the_primary_metric_in_its_direction(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lowest loss wins, also where it is far from the highest; the line has the metric's own unit."""
    make = maker(lambda spec: 1.0 - (near(0.05)(spec) or 0.0))
    by_loss, _ = tune(scored_by(plan, "test_loss"), tmp_path, make)
    assert by_loss.tuned is not None
    best = by_loss.tuned.best("batch")
    assert best is not None
    assert best.score == min(t.score for t in trials(by_loss, "batch") if t.score is not None)
    assert rates(by_loss)["batch"] == best.values["optimizer.lr"] != 0.05
    assert f"; loss {best.score:.4g} on held-out images, the best of 4 trials" in capsys.readouterr().out
    by_accuracy, _ = tune(plan, tmp_path, again := maker())
    assert not again.made, "the points are the same, and their runs are made"
    assert [t.values for t in trials(by_accuracy, "batch")] == [t.values for t in trials(by_loss, "batch")]


def test_a_metric_of_logits_is_computed_from_those_that_trials_kept(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path
) -> None:
    """Macro F1 is recorded nowhere; in a trial's predictions held-out images stand in the place of test images."""
    tuned, _ = tune(scored_by(plan, "test_macro_f1"), tmp_path, maker())
    assert set(rates(tuned).values()) == {0.05}
    first = trials(tuned, "batch")[0].score
    assert first is not None
    assert first == pytest.approx(22 / 24, abs=0.01)


def test_held_out_images_stand_in_the_place_of_test_images(tmp_path: Path) -> None:
    """What such a run is given holds none of the data set's test images."""
    whole = load(Data(name="digits"), tmp_path)
    trial = load(Data(name="digits", validation_fraction=0.1, scored_on="held_out"), tmp_path)
    assert trial.validation is not None
    assert (trial.test.images == trial.validation.images).all()
    assert len(trial.train.labels) + len(trial.test.labels) == len(whole.train.labels)
    given = {image.tobytes() for split in (trial.train, trial.test) for image in split.images}
    assert not given & {image.tobytes() for image in whole.test.images}
    assert HELD_OUT in trial.remarks


def test_tuning_goes_on_where_it_stopped(plan: Plan, maker: Callable[..., Maker], tmp_path: Path) -> None:
    """Stopped after every third trial it makes the trials of a tuning that was never stopped, each once."""
    calm, _ = tune(plan, tmp_path / "calm", Maker(tmp_path / "calm", maker().template, score=near(0.05)))
    made: list[RunSpec] = []
    for _ in range(2):
        make = maker(stop_after=3)
        same, stopped = tune(plan, tmp_path, make)
        assert stopped is not None
        assert same is plan
        made += make.made
    tuned, stopped = tune(plan, tmp_path, make := maker())
    made += make.made
    assert stopped is None
    assert len({spec.key for spec in made}) == len(made) == 8
    assert [t.values for v in rates(tuned) for t in trials(tuned, v)] == [
        t.values for v in rates(calm) for t in trials(calm, v)
    ]


def test_a_larger_budget_goes_on_with_other_points(plan: Plan, maker: Callable[..., Maker], tmp_path: Path) -> None:
    """Eight trials are the four that were made and four more; a resumed sampler does not repeat its first draws."""
    assert plan.tune is not None
    tune(plan, tmp_path, maker())
    make = maker()
    tuned, _ = tune(replace(plan, tune=plan.tune.model_copy(update={"trials": 8})), tmp_path, make)
    assert len(make.made) == 8
    values = [t.values["optimizer.lr"] for t in trials(tuned, "batch")]
    assert len(set(values)) == 8
    fewer, _ = tune(plan, tmp_path, maker())
    assert [t.values["optimizer.lr"] for t in trials(fewer, "batch")] == values[:4]


def test_later_trials_follow_the_results_and_a_resumed_sampler_repeats_nothing(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the quasi-random points each is drawn when the one before has its result, anew in every command here."""
    monkeypatch.setattr(studies, "QUASI_RANDOM", 2)
    while tune(plan, tmp_path, make := maker(stop_after=1))[1] is not None:
        assert len(make.made) == 1
    tuned, _ = tune(plan, tmp_path, make)
    for variant in ("batch", "group"):
        assert len({t.values["optimizer.lr"] for t in trials(tuned, variant)}) == 4


def test_a_point_that_was_killed_while_it_was_drawn_does_not_count(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path
) -> None:
    """A trial that Optuna began and that has no values is none; the budget is of whole ones."""
    tune(plan, tmp_path, maker(stop_after=0))
    storage = f"sqlite:///{tmp_path / 'runs' / 'tiny_trial' / 'tuning.db'}"
    for name in optuna.get_all_study_names(storage):
        optuna.load_study(study_name=name, storage=storage).ask()
    tuned, _ = tune(plan, tmp_path, maker())
    assert [len(trials(tuned, variant)) for variant in ("batch", "group")] == [4, 4]


def test_variants_that_are_not_asked_for_keep_their_tuned_values(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path
) -> None:
    """A command for one variant makes no trial of another, and knows the values that another was tuned to."""
    one = replace(plan, runs=plan.runs[:2])
    tuned, _ = tune(one, tmp_path, make := maker())
    assert {spec.variant.partition("_")[0] for spec in make.made} == {"batch"}
    assert tuned.all_recipes["group"] == plan.all_recipes["group"]
    tune(plan, tmp_path, maker())
    tuned, _ = tune(one, tmp_path, make := maker())
    assert not make.made
    assert tuned.all_recipes["group"].optimizer.lr == 0.05


def test_a_variant_that_diverges_in_half_its_trials_is_tuned_to_the_best_of_the_rest(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Diverged trials spend the budget like others and are never the best; the line says how many there were."""
    make = maker(lambda spec: None if spec.seed % 2 else near(1.0)(spec))
    tuned, _ = tune(plan, tmp_path, make)
    assert [t.diverged for t in trials(tuned, "batch")] == [False, True, False, True]
    best = max(t.values["optimizer.lr"] for t in trials(tuned, "batch") if not t.diverged)
    assert rates(tuned) == {"batch": best, "group": best}
    assert "the best of 4 trials, 2 of which diverged" in capsys.readouterr().out


def test_a_variant_of_which_all_trials_diverge_is_refused(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path
) -> None:
    """Nothing is run with values that are known not to train."""
    make = maker(lambda spec: None if spec.recipe.model.options["norm"] == "group" else 0.5)
    with pytest.raises(HarnessError, match="all 4 trials of group did: choose smaller ones"):
        tune(plan, tmp_path, make)


def test_an_optimum_at_the_edge_is_said(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best value in the outer tenth of its range: the range may be too narrow."""
    assert plan.tune is not None
    narrow = plan.tune.model_copy(update={"space": {"optimizer.lr": LogUniform(0.04, 0.2)}, "trials": 8})
    tuned, _ = tune(replace(plan, tune=narrow), tmp_path, maker(near(1e-3)))
    assert tuned.tuned is not None
    assert tuned.tuned.at_edge("batch") == {"optimizer.lr": "low"}
    assert "optimizer.lr lies at the low end of its range: widen it" in capsys.readouterr().out


def test_choices_are_tuned_too(plan: Plan, maker: Callable[..., Maker], tmp_path: Path) -> None:
    """Values without an order, beside a rate; they keep their types, and have no edge."""
    space: dict[str, Range] = {"optimizer.lr": LogUniform(1e-4, 1.0), "batch_size": Choice((8, 16, 24))}
    tuned, _ = tune(replace(plan, tune=Tuning(space=space, trials=8)), tmp_path, maker())
    assert trials(tuned, "batch")[0].values == {"optimizer.lr": 0.05, "batch_size": 16}
    assert {t.values["batch_size"] for t in trials(tuned, "batch")} == {8, 16, 24}
    assert {type(spec.recipe.batch_size) for spec in tuned.runs} == {int}


def test_a_trial_that_failed_is_no_result(plan: Plan, maker: Callable[..., Maker], tmp_path: Path) -> None:
    """The comparison does not begin with a budget that is not equal; one line says what to do."""
    with pytest.raises(HarnessError, match=r"^1 trials of tiny_trial have no result: see above; the same"):
        tune(plan, tmp_path, maker(fails="group_t2"))


def test_a_file_of_points_that_cannot_be_read_is_one_line(
    plan: Plan, maker: Callable[..., Maker], tmp_path: Path
) -> None:
    """Removed, the same points are drawn again, and the trials are made already."""
    before, _ = tune(plan, tmp_path, maker())
    file = tmp_path / "runs" / "tiny_trial" / "tuning.db"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(HarnessError, match=r"tuning.db cannot be read .*; remove it, and the same points"):
        tune(plan, tmp_path, maker())
    file.unlink()
    after, _ = tune(plan, tmp_path, make := maker())
    assert not make.made
    assert after == before


def test_two_at_once_share_the_points(tmp_path: Path) -> None:
    """What one command has drawn the next one finds, in the same order."""
    tuning = Tuning(space=SPACE, trials=5)
    with Studies(tmp_path / "tuning.db") as one:
        drawn = one.points("batch", tuning, {"optimizer.lr": 0.05}, more=True)
    with Studies(tmp_path / "tuning.db") as other:
        assert other.points("batch", tuning, {"optimizer.lr": 0.05}, more=True) == drawn
    assert [point.number for point in drawn] == [0, 1, 2, 3, 4]
