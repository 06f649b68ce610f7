"""Named layers of real networks; every measurement names one of these."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Workload:
    """A layer and the size of what it is applied to, in Flax's words; padding is "SAME"."""

    name: str
    batch: int
    spatial: tuple[int, ...]
    in_features: int
    out_features: int
    kernel_size: tuple[int, ...]
    strides: int = 1
    dilation: int = 1
    groups: int = 1
    transposed: bool = False


WORKLOADS = (
    Workload("resnet 3x3", 8, (56, 56), 64, 64, (3, 3)),
    Workload("resnet 3x3 wide", 8, (28, 28), 256, 256, (3, 3)),
    Workload("resnet 1x1", 8, (28, 28), 256, 256, (1, 1)),
    Workload("resnet stem", 4, (224, 224), 3, 64, (7, 7), strides=2),
    Workload("resnet 3x3 stride 2", 8, (56, 56), 64, 128, (3, 3), strides=2),
    Workload("deeplab dilated", 2, (48, 48), 64, 64, (3, 3), dilation=4),
    Workload("mobilenet depthwise", 4, (56, 56), 128, 128, (3, 3), groups=128),
    Workload("convnext depthwise 7x7", 2, (56, 56), 96, 96, (7, 7), groups=96),
    Workload("resnext grouped", 4, (28, 28), 128, 128, (3, 3), groups=8),
    Workload("wavenet 1-D", 4, (2048,), 64, 64, (3,), dilation=2),
    Workload("conformer depthwise 1-D", 2, (1024,), 256, 256, (31,), groups=256),
    Workload("u-net 3-D", 1, (16, 32, 32), 32, 32, (3, 3, 3)),
    Workload("fsrcnn mapping", 16, (24, 24), 12, 12, (3, 3)),
    Workload("small map", 32, (4, 4), 256, 256, (3, 3)),
    Workload("u-net up", 4, (28, 28), 128, 64, (3, 3), strides=2, transposed=True),
    Workload("dcgan up", 8, (16, 16), 128, 64, (4, 4), strides=2, transposed=True),
    Workload("fsrcnn up", 4, (24, 24), 32, 1, (9, 9), strides=3, transposed=True),
    Workload("hifi-gan up 1-D", 4, (256,), 128, 64, (16,), strides=8, transposed=True),
    Workload("u-net up 3-D", 1, (8, 16, 16), 32, 16, (3, 3, 3), strides=2, transposed=True),
)
