"""Which parts of a tuned recipe contribute to its accuracy? Page's recipe for 10 epochs, and without each part.

The parts are those of "How to train your ResNet" (Page 2019, part 8; there 94.1% in 10 epochs on CIFAR-10): a fixed
whitening layer, logits scaled by 0.125, label smoothing 0.2, Nesterov momentum, a moving average of the weights, and
averaging over an image and its mirror image at test time.
Expected: 94% with all of them on CIFAR-10, less on JPEG images; each part adds a few tenths of a point.
Command: make run EXP=resnet_94. Cost: about 45 minutes per run on one CPU core with bf16, 56 runs.
"""

from experiments.resnet_onecycle import CROP, CUTOUT, FLIP, PAD
from harness import SGD, Data, Experiment, Model, OneCycle, Recipe

EXPERIMENT = Experiment(
    name="resnet_94",
    question="What does each part of the tuned recipe add: whitening, head scale, label smoothing, Nesterov, the "
    "average of the weights, flips at test time?",
    base=Recipe(
        data=Data(name="cifar10"),
        model=Model(name="resnet", whitening=True, head_scale=0.125),
        augmentation=(PAD, CROP, FLIP, CUTOUT),
        optimizer=SGD(lr=0.4, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=OneCycle(
            pct_start=0.2, anneal_strategy="linear", div_factor=100.0, final_div_factor=100.0, cycle_momentum=False
        ),
        epochs=10,
        label_smoothing=0.2,
        ema_decay=0.99,
        test_time_flip=True,
    ),
    variants={
        "tuned": {},
        "no_whitening": {"model.whitening": False},
        "no_head_scale": {"model.head_scale": 1.0},
        "no_smoothing": {"label_smoothing": 0.0},
        "no_nesterov": {"optimizer.nesterov": False},
        "no_average": {"ema_decay": None},
        "no_flips": {"test_time_flip": False},
    },
    factor=(
        "model.whitening",
        "model.head_scale",
        "label_smoothing",
        "optimizer.nesterov",
        "ema_decay",
        "test_time_flip",
    ),
    baseline="tuned",
    seeds=(0, 1, 2, 3, 4, 5, 6, 7),
    smallest_difference_points=0.2,
)
