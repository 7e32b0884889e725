"""Does dropout cost more accuracy under group norm than under batch norm? A factorial design with two factors.

The small CNN has dropout of 0.01 after every norm, which may be too little to matter; here it is 0 or 0.1.
Expected: in five epochs dropout of 0.1 costs a few points, about equally under both norms.
Command: make run EXP=norm_by_dropout. Cost: about a minute and a half per run on one core with bf16, 28 runs.
"""

from harness import SGD, Data, Experiment, Model, OneCycle, Recipe

EXPERIMENT = Experiment(
    name="norm_by_dropout",
    question="Does dropout of 0.1 cost a small CNN on CIFAR-10 as much under group norm as under batch norm?",
    base=Recipe(
        data=Data(name="cifar10", mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)),
        model=Model(name="norm_cnn"),
        optimizer=SGD(lr=0.02),
        schedule=OneCycle(),
        epochs=5,
    ),
    factors={"model.norm": ("batch", "group"), "model.dropout": (0.0, 0.1)},
    baseline="batch_0",
    seeds=(0, 1, 2, 3, 4, 5, 6),
    smallest_difference_points=0.5,
    expected={"batch_01": "worse", "group_0": "worse", "group_01": "worse"},
)
