"""One convolution and tables that know it."""

import jax.numpy as jnp

from jaxconv.geometry import Axis, ConvSpec
from jaxconv.planner import Table

SPEC = ConvSpec(2, 4, 4, 1, (Axis(7, 3), Axis(6, 3, lo=1, hi=1)))
KEY = "forward n2 g1 c4>4 7k3s1d1p0,0 6k3s1d1p1,1 float32 default"
X, KERNEL = jnp.ones(SPEC.input_shape), jnp.ones(SPEC.kernel_shape)


def table(seconds=None, platform="cpu", device_kind="cpu", jaxlib="0.10.2", key=KEY):
    """A table of one convolution, or of none."""
    return Table(platform, device_kind, jaxlib, {key: seconds} if seconds else {})
