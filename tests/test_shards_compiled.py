"""What divided functions send, read off the program that the compiler makes for the chips of a pod.

It needs the TPU's compiler, which lives in an environment of its own: `make targets`.
"""

import dataclasses

import pytest

from benchmarks import shards
from jaxconv import targets

REASON = targets.missing("v5e")


@pytest.mark.skipif(REASON is not None, reason=f"{REASON} `make targets` does all of that.")
@pytest.mark.slow
def test_a_training_step_of_grouped_convolutions_sends_its_halo_and_gathers_nothing():
    """Bytes of a chip within a tenth of the halo's, forward and back; kernels' gradients are summed."""
    case = dataclasses.replace(shards.CASES[0], x=(1, 512, 512, 64))
    row = shards.compiled(case, shards.pod(), ours=True)
    sent = row["bytes"]
    assert set(sent) == {"collective-permute", "all-reduce"}
    assert abs(sent["collective-permute"] / row["halo_bytes"] - 1) < 0.1


def test_the_exact_halo_is_counted_from_windows():
    """Two 3 x 3 convolutions of 64 channels in bfloat16: 2 rows of 32, 2 columns of 34; back for one only."""
    case = dataclasses.replace(shards.CASES[0], x=(1, 512, 512, 64))
    assert shards.halo_bytes(case) == (1 + 2) * (2 * 64) * (2 * 32 + 2 * 34)


def test_the_table_says_what_failed():
    row = {"case": "net", "by": "XLA", "halo_bytes": 2048, "failed": "too large"}
    assert shards.page([row]).splitlines()[-1].startswith("| net | XLA | 2 | too large |")
