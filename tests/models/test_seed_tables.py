"""Layer by layer, the networks are those whose tables stand in the seed documents 000, 001 and 002."""

import pytest

import models

SEED_000 = """
Conv2d      64x32x32      1,728
BatchNorm2d 64x32x32        128
ReLU        64x32x32          0
Conv2d      128x32x32    73,728
MaxPool2d   128x16x16         0
BatchNorm2d 128x16x16       256
ReLU        128x16x16         0
Conv2d      128x16x16   147,456
BatchNorm2d 128x16x16       256
ReLU        128x16x16         0
Conv2d      128x16x16   147,456
BatchNorm2d 128x16x16       256
ReLU        128x16x16         0
Conv2d      256x16x16   294,912
MaxPool2d   256x8x8           0
BatchNorm2d 256x8x8         512
ReLU        256x8x8           0
Conv2d      512x8x8   1,179,648
MaxPool2d   512x4x4           0
BatchNorm2d 512x4x4       1,024
ReLU        512x4x4           0
Conv2d      512x4x4   2,359,296
BatchNorm2d 512x4x4       1,024
ReLU        512x4x4           0
Conv2d      512x4x4   2,359,296
BatchNorm2d 512x4x4       1,024
ReLU        512x4x4           0
MaxPool2d   512x1x1           0
Linear      10            5,130
"""
SEED_001 = """
Conv2d      64x32x32      1,728
BatchNorm2d 64x32x32        128
ReLU        64x32x32          0
Dropout     64x32x32          0
Conv2d      128x32x32    73,728
MaxPool2d   128x16x16         0
BatchNorm2d 128x16x16       256
ReLU        128x16x16         0
Dropout     128x16x16         0
Conv2d      128x16x16   147,456
BatchNorm2d 128x16x16       256
ReLU        128x16x16         0
Dropout     128x16x16         0
Conv2d      128x16x16   147,456
BatchNorm2d 128x16x16       256
ReLU        128x16x16         0
Dropout     128x16x16         0
Conv2d      256x16x16   294,912
MaxPool2d   256x8x8           0
BatchNorm2d 256x8x8         512
ReLU        256x8x8           0
Dropout     256x8x8           0
Conv2d      512x8x8   1,179,648
MaxPool2d   512x4x4           0
BatchNorm2d 512x4x4       1,024
ReLU        512x4x4           0
Dropout     512x4x4           0
Conv2d      512x4x4   2,359,296
BatchNorm2d 512x4x4       1,024
ReLU        512x4x4           0
Dropout     512x4x4           0
Conv2d      512x4x4   2,359,296
BatchNorm2d 512x4x4       1,024
ReLU        512x4x4           0
Dropout     512x4x4           0
MaxPool2d   512x1x1           0
Linear      10            5,120
"""
SEED_002 = """
Conv2d      16x30x30        432
ReLU        16x30x30          0
BatchNorm2d 16x30x30         32
Dropout     16x30x30          0
Conv2d      20x28x28      2,880
ReLU        20x28x28          0
BatchNorm2d 20x28x28         40
Dropout     20x28x28          0
Conv2d      16x28x28        320
MaxPool2d   16x14x14          0
Conv2d      20x14x14      2,880
ReLU        20x14x14          0
BatchNorm2d 20x14x14         40
Dropout     20x14x14          0
Conv2d      24x14x14      4,320
ReLU        24x14x14          0
BatchNorm2d 24x14x14         48
Dropout     24x14x14          0
Conv2d      28x14x14      6,048
ReLU        28x14x14          0
BatchNorm2d 28x14x14         56
Dropout     28x14x14          0
Conv2d      16x14x14        448
MaxPool2d   16x7x7            0
Conv2d      20x7x7        2,880
ReLU        20x7x7            0
BatchNorm2d 20x7x7           40
Dropout     20x7x7            0
Conv2d      24x7x7        4,320
ReLU        24x7x7            0
BatchNorm2d 24x7x7           48
Dropout     24x7x7            0
Conv2d      28x7x7        6,048
ReLU        28x7x7            0
BatchNorm2d 28x7x7           56
Dropout     28x7x7            0
AvgPool2d   28x1x1            0
Conv2d      10x1x1          280
"""


@pytest.mark.parametrize(
    ("table", "name", "options"),
    [
        (SEED_000, "resnet", {"head_bias": True}),
        (SEED_001, "resnet", {"dropout": 0.05}),
        (SEED_002, "norm_cnn", {"norm": "batch"}),
    ],
    ids=["000", "001", "002"],
)
def test_kinds_shapes_and_parameters_are_those_of_the_seeds_table(table: str, name: str, options: dict[str, object]):
    """The order too, so nothing stands between a residual's last ReLU (or Dropout) and what follows the sum."""
    summary = models.summarize(models.build(name, **options), (3, 32, 32))
    rows = [
        f"{layer.kind:<11} {'x'.join(map(str, layer.output_shape)):<9} {layer.parameters:>9,}"
        for layer in summary.layers
        if layer.kind != "Flatten"  # the seeds reshape inside forward
    ]
    assert rows == table.strip().splitlines()
