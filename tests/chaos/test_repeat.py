"""Repetitions: one model twice, and which variants there are."""

from pathlib import Path

import models
from tests.chaos import repeat
from tests.chaos.repeat import REDUCED, variants
from tests.chaos.tiny import Projects


def test_weights_are_the_same_again(projects: Projects, tmp_path: Path) -> None:
    """Two processes, two folders, one hash."""
    (row,) = repeat.tried(REDUCED, tmp_path, projects.launch)
    assert row.tried == 2
    assert row.kept, row


def test_every_model_norm_and_dropout_is_a_variant() -> None:
    """Every registered model, each of its norms with and without dropout, all different and all possible."""
    found = variants(models.names())
    assert {options["model.name"] for options in found.values()} == set(models.names())
    assert {"norm_cnn_layer_chw", "norm_cnn_layer_chw_dropout", "resnet", "resnet_dropout", "mnist_cnn"} <= set(found)
    assert len({str(options) for options in found.values()}) == len(found)
    for options in found.values():
        given = {name.removeprefix("model."): value for name, value in options.items()}
        models.check(str(given.pop("name")), given | {"image_size": 16})
