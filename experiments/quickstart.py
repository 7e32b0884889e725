"""A small version of the norm comparison on scikit-learn's digits, as a first look at the whole workflow.

Expected: all three norms learn the digits; three seeds are too few to rank them, and the report says so.
Command: make run EXP=quickstart. Cost: about a minute on 2 CPU cores.
"""

from harness import SGD, Data, Experiment, Model, OneCycle, Recipe

EXPERIMENT = Experiment(
    name="quickstart",
    question="Does the choice of batch, group or layer norm matter on small handwritten digits?",
    base=Recipe(
        data=Data(name="digits"),
        model=Model(name="norm_cnn", norm="batch"),
        optimizer=SGD(lr=0.1),
        schedule=OneCycle(),
        epochs=5,
        batch_size=64,
    ),
    variants={"batch": {}, "group": {"model.norm": "group"}, "layer": {"model.norm": "layer"}},
    factor=("model.norm",),
    baseline="batch",
    seeds=(0, 1, 2),
    smallest_difference_points=1.0,
)
