"""Which normalisation gives the best accuracy in a small CNN on CIFAR-10? The question of seed document 002.

The document ranks BN 75.77, LN 74.98, GN 74.18 with one run each; another seed changes such a result by about half a
point. "layer" is GroupNorm(1, C) as in the document; "layer_chw" is LayerNorm([C, H, W]), a different model with four
times the parameters. Expected: differences of a point or less between the first three.
Command: make run EXP=norm_comparison. Cost: about 10 minutes per run on 2 CPU cores with bf16, 28 runs.
"""

from harness import SGD, Data, Experiment, Model, OneCycle, Published, Recipe

SOURCE = "seed document 002 (one run each, CIFAR-10)"

EXPERIMENT = Experiment(
    name="norm_comparison",
    question="Which normalisation gives the best test accuracy in a small CNN on CIFAR-10: batch, group or layer norm?",
    base=Recipe(
        data=Data(name="cifar10", mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)),
        model=Model(name="norm_cnn", norm="batch"),
        optimizer=SGD(lr=0.02),
        schedule=OneCycle(),
        epochs=15,
    ),
    variants={
        "batch": {},
        "group": {"model.norm": "group"},
        "layer": {"model.norm": "layer"},
        "layer_chw": {"model.norm": "layer_chw"},
    },
    factor=("model.norm",),
    baseline="batch",
    seeds=(0, 1, 2, 3, 4, 5, 6),
    smallest_difference_points=0.5,
    published=(
        Published(variant="batch", test_accuracy_percent=75.77, train_accuracy_percent=80.49, source=SOURCE),
        Published(variant="group", test_accuracy_percent=74.18, train_accuracy_percent=78.59, source=SOURCE),
        Published(variant="layer", test_accuracy_percent=74.98, train_accuracy_percent=79.55, source=SOURCE),
    ),
)
