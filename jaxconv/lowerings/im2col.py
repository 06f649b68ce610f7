"""One matrix product over patches: y = patches(x) w, and its two transposes.

Wins where the kernel has more positions than the map: the patches are few, and XLA's CPU backend would run
such a convolution with a reversed window, as a scalar loop. Multiply-adds: those of the form plus the
padding. Workspace: prod(k) times the input. Error: that of one dot product of the contraction's length.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..geometry import Axis, ConvSpec, Slot
from ._base import Lowering, Target, product_operands


def patches(x: jax.Array, axes: tuple[Axis, ...]) -> jax.Array:
    """(N, *s, C), already padded, -> (N, *o, *k, C), one gather for each axis; linear in x."""
    for i, a in enumerate(axes):
        index = np.arange(a.out)[:, None] * a.stride + np.arange(a.kernel) * a.dilation
        x = jnp.take(x, index, axis=1 + 2 * i, mode="clip")
    # N o1 k1 o2 k2 ... C -> N o1 o2 ... k1 k2 ... C
    rank = len(axes)
    return jnp.transpose(x, (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1))


def _run(slot: Slot, spec: ConvSpec, target: Target, a: jax.Array, b: jax.Array) -> jax.Array:
    a, b, dtype = product_operands(a, b, target)
    rows, taps = spec.batch * math.prod(x.out for x in spec.axes), math.prod(x.kernel for x in spec.axes)
    groups, i, o = spec.groups, spec.in_channels // spec.groups, spec.out_channels // spec.groups
    unfolded, kernel, output = (rows, taps, groups, i), (taps, i, groups, o), (rows, groups, o)

    def dot(subscripts: str, left: jax.Array, right: jax.Array) -> jax.Array:
        return jnp.einsum(subscripts, left, right, precision=target.precision, preferred_element_type=dtype)

    if slot == "forward":
        y = dot("mkgi,kigo->mgo", _unfold(spec, a).reshape(unfolded), b.reshape(kernel))
    elif slot == "weight_grad":
        y = dot("mkgi,mgo->kigo", _unfold(spec, a).reshape(unfolded), b.reshape(output))
    else:
        y = _fold(spec, dot("mgo,kigo->mkgi", a.reshape(output), b.reshape(kernel)))
    return y.reshape(spec.result_shape(slot)).astype(target.dtype)


def _unfold(spec: ConvSpec, x: jax.Array) -> jax.Array:
    border = [(0, 0), *((a.lo, a.hi) for a in spec.axes), (0, 0)]
    return patches(jnp.pad(x, border), spec.axes)


def _fold(spec: ConvSpec, unfolded: jax.Array) -> jax.Array:
    """The transpose of `_unfold`: the border is cut off after adding up."""
    n, c = spec.batch, spec.in_channels
    sizes = [a.lo + a.size + a.hi for a in spec.axes]
    padded = jax.ShapeDtypeStruct((n, *sizes, c), unfolded.dtype)
    shape = (n, *(a.out for a in spec.axes), *(a.kernel for a in spec.axes), c)
    [x] = jax.linear_transpose(lambda x: patches(x, spec.axes), padded)(unfolded.reshape(shape))
    return lax.slice(x, (0, *(a.lo for a in spec.axes), 0), (n, *(a.lo + a.size for a in spec.axes), c))


LOWERING = Lowering("im2col", lambda *_: None, _run)
