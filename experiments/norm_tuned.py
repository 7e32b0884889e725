"""Is batch norm better than group and layer norm when each has its own learning rate?

`norm_comparison` uses one rate for all three, which may suit one of them best. Here each is tuned with the same eight
trials on held-out training images, then run with other seeds on all training images.
Expected: group and layer norm stay behind batch norm, but by less than with one rate for all.
Command: make run EXP=norm_tuned. Cost: about a minute and a half per run on one core with bf16, 24 trials and 21 runs.
"""

from harness import SGD, Data, Experiment, LogUniform, Model, OneCycle, Recipe, Tuning

EXPERIMENT = Experiment(
    name="norm_tuned",
    question="Which normalisation gives the best test accuracy in a small CNN on CIFAR-10, each at a learning rate of "
    "its own: batch, group or layer norm?",
    base=Recipe(
        data=Data(name="cifar10", mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)),
        model=Model(name="norm_cnn", norm="batch"),
        optimizer=SGD(lr=0.02),
        schedule=OneCycle(),
        epochs=5,
    ),
    variants={"batch": {}, "group": {"model.norm": "group"}, "layer": {"model.norm": "layer"}},
    factor=("model.norm",),
    baseline="batch",
    seeds=(0, 1, 2, 3, 4, 5, 6),
    smallest_difference_points=0.5,
    expected={"group": "worse", "layer": "worse"},
    tune=Tuning(space={"optimizer.lr": LogUniform(0.003, 1.0)}, trials=8),
)
