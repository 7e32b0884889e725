"""What tracking's share and the memory that a run needs at least are made of."""

from pathlib import Path

import pytest

from harness.plans.hyperparameters import SGD
from harness.plans.spec import Circumstances, Data, Model, Recipe
from tests.bench.whole_run import WholeRun, needed
from tests.bench.work import LR, Work


def test_the_share_is_of_a_whole_run_and_the_ratio_over_all_that_it_needs() -> None:
    """Start and end once, an epoch's median as often as there are epochs: (1 + 10 x 0.1 + 2) of (4 + 10 x 9.6)."""
    run = WholeRun([1.0, 0.1, 0.3, 0.1, 2.0], [9.6, 50.0, 9.6], peak=260, data=100, model=40, activations=60)
    assert run.tracking_share(10) == pytest.approx(4 / 100)
    assert run.memory_ratio == pytest.approx(1.3)


def test_activations_grow_with_the_batch_and_the_model_does_not(tmp_path: Path) -> None:
    """Weights, gradients and momentum of 31,216 parameters, and the running statistics of eight norms; by hand."""

    def of(batch: int) -> tuple[int, int]:
        recipe = Recipe(
            data=Data(name="cifar10"),
            model=Model(name="norm_cnn", dropout=0.0),
            optimizer=SGD(lr=LR),
            epochs=1,
            batch_size=batch,
            precision="fp32",
        )
        here = Circumstances(device="cpu", threads=1, memory_format="channels_last", step="eager")
        return needed(Work.of_noise(recipe, here, 1, tmp_path))

    (two, model), (four, same), (six, _) = of(2), of(4), of(6)
    assert four - two == six - four > 2 * 4 * (3 * 32**2 + 16 * 30**2)  # inputs, the first layer's maps, and more
    statistics = 2 * (16 + 20 + 2 * (20 + 24 + 28)) * 4 + 8 * 8
    assert model == same == 3 * 31_216 * 4 + statistics
