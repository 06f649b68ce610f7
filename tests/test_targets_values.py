"""The programs that GPUs and TPUs are given compute the right thing: the same operations, run on a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.lowerings import Target
from jaxconv.planner import execute
from jaxconv.planner.rules import FAULTS, MOST_WORK, substitute
from jaxconv.testing import assert_close
from tests.cases import CASES, SLOTS, Case, expected_slots
from tests.test_lowerings import spec_of

OPERANDS = {"forward": (0, 1), "input_grad": (2, 1), "weight_grad": (0, 2)}
# Where the borders of a dilated kernel differ, where XLA would exchange operands, where taps stride alone.
MORE = (
    Case("dilated_borders", (9, 8), (3, 2), dilation=(2, 3), padding=((4, 0), (1, 2))),
    Case("dilated_strided_borders", (9, 8), (3, 2), stride=(2, 2), dilation=(3, 2), padding=((4, 1), (1, 2))),
    Case("patches", (16, 15), (8, 5), channels=(3, 5), stride=(8, 5)),
    Case("full", (6, 5), (5, 4), padding=((4, 4), (3, 3))),
    Case("full_strided", (4, 5), (6, 4), stride=(1, 2), padding=((5, 5), (3, 3))),
    Case("depthwise_long", (40,), (2,), channels=(4, 4), padding=((1, 0),), groups=4),
    Case("frames", (2600,), (130,), channels=(2, 3), stride=(65,), batch=1),
    Case("frames_remainder", (520,), (130,), channels=(2, 3), stride=(64,), padding=((3, 9),), batch=1),
    Case("long", (700,), (520,), channels=(1, 1), padding=((3, 9),)),
    Case("shortcut", (7, 8), (1, 1), stride=(2, 3)),
    Case("one_tap_strided", (7, 8), (1, 3), stride=(2, 3)),
    Case(
        "depthwise_strided",
        (9, 8),
        (3, 2),
        channels=(4, 4),
        stride=(2, 3),
        padding=((1, 1), (0, 1)),
        groups=4,
    ),
    Case(
        "grouped_strided", (9, 8), (4, 2), channels=(4, 6), stride=(2, 2), padding=((1, 2), (0, 1)), groups=2
    ),
    Case(
        "four_axes", (5, 4, 3, 4), (2, 3, 2, 1), stride=(2, 1, 1, 2), padding=((1, 0), (1, 1), (0, 1), (0, 0))
    ),
)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("case", [*CASES, *MORE], ids=lambda case: case.name)
def test_values(case: Case, platform: str) -> None:
    spec, args = spec_of(case), case.arrays(np.float32)
    target = Target(platform, jnp.dtype(jnp.float32))

    @jax.jit
    def run(*args):
        return {s: execute(s, spec, target, None, args[i], args[j]) for s, (i, j) in OPERANDS.items()}

    want, sizes = expected_slots(case, *args), expected_slots(case, *map(np.abs, args))
    for slot, got in run(*args).items():
        k = max(1, case.contraction(slot))
        assert_close(got, want[slot], contraction=k, scale=sizes[slot], label=f"{platform} {slot}")


def chosen(platform: str) -> set[str]:
    target = Target(platform, jnp.dtype(jnp.float32))
    specs = [spec_of(case) for case in (*CASES, *MORE)]
    return {name for spec in specs for slot in SLOTS if (name := substitute(slot, spec, target))}


def test_the_cases_reach_every_substitute() -> None:
    for platform in ("cuda", "tpu"):
        named = {n for rules in FAULTS[platform].values() for _, instead in rules for n in instead}
        assert chosen(platform) == named


def test_a_substitute_that_pads_much_comes_second() -> None:
    """The phases of 4 taps by 2 as channels need one position more along each axis."""
    spec = spec_of(Case("few", (8, 8), (4, 4), (8, 8), stride=(2, 2), padding=((1, 1),) * 2, groups=2))
    assert MOST_WORK < (5 / 4) ** 2
    assert substitute("input_grad", spec, Target("cuda", jnp.dtype(jnp.float32))) == "overlap_add"
    wide = spec_of(Case("wide", (200, 200), (4, 4), (8, 8), stride=(2, 2), padding=((1, 1),) * 2, groups=2))
    assert substitute("input_grad", wide, Target("cuda", jnp.dtype(jnp.float32))) == "subpixel"
