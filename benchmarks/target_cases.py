"""Small layers of the shapes that compilers for GPUs and TPUs stumble over, beside the named workloads."""

from __future__ import annotations

from .workload import Workload

CASES: tuple[Workload, ...] = (
    Workload("strided-grouped", "", 2, (28, 30), 32, 64, (3, 3), stride=2, groups=4, padding=1, quick=True),
    Workload(
        "strided-remainder", "(in - k) % stride = 1", 2, (29, 30), 16, 32, (3, 3), stride=(2, 3), padding=0
    ),
    Workload("strided-dilated", "", 8, (40, 32), 16, 32, (3, 3), stride=2, dilation=3, padding=3, quick=True),
    Workload(
        "strided-dilated-grouped", "", 2, (40, 42), 16, 32, (3, 3), stride=2, dilation=2, groups=4, padding=2
    ),
    Workload("strided-depthwise", "", 2, (28, 30), 32, 32, (5, 5), stride=2, groups=32, padding=2),
    Workload("strided-gaps", "stride beyond the kernel", 2, (31, 33), 16, 32, (2, 2), stride=3, padding=0),
    Workload("dilated-asymmetric", "", 2, (28, 30), 16, 32, (3, 2), dilation=2, padding=((2, 1), (0, 2))),
    Workload("causal-dilated", "", 2, (500,), 32, 48, (3,), dilation=9, padding="CAUSAL"),
    Workload("kernel-beyond-map", "", 2, (5, 3), 16, 32, (7, 5), padding=3),
    Workload("strided-3d-grouped", "", 1, (8, 10, 12), 16, 32, (3, 3, 3), stride=2, groups=4, padding=1),
    Workload("strided-3d-dilated", "", 1, (9, 12, 14), 8, 16, (3, 2, 3), stride=2, dilation=2, padding=2),
    Workload(
        "transposed-remainder",
        "",
        2,
        (14, 15),
        32,
        16,
        (3, 3),
        stride=2,
        padding=1,
        output_padding=1,
        transposed=True,
    ),
    Workload(
        "transposed-grouped-remainder",
        "",
        2,
        (14, 15),
        32,
        16,
        (4, 3),
        stride=3,
        groups=4,
        padding=0,
        output_padding=2,
        transposed=True,
    ),
    Workload(
        "transposed-dilated",
        "",
        8,
        (14, 16),
        32,
        16,
        (3, 3),
        stride=2,
        dilation=2,
        padding=1,
        transposed=True,
    ),
    Workload(
        "transposed-depthwise",
        "",
        2,
        (14, 15),
        32,
        32,
        (4, 4),
        stride=2,
        groups=32,
        padding=1,
        transposed=True,
    ),
)
