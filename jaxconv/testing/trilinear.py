"""The identity that makes three functions the operators of one convolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ops.conv import conv, conv_input_grad, conv_weight_grad
from ._numeric import FACTOR, Array, norm, spacing, widest

Operator = Callable[[Array, Array], Array]


def check_trilinear(
    x: Array,
    kernel: Array,
    g: Array,
    *,
    operators: Sequence[Operator] | None = None,
    contraction: int | None = None,
    factor: float = FACTOR,
    **options: Any,
) -> None:
    """Assert <forward(x, kernel), g> = <x, input_grad(g, kernel)> = <kernel, weight_grad(x, g)>.

    The identity says that the three operators are the derivatives of one form T(x, kernel, g) = Σ x·kernel·g
    over all index triples that touch, and with random arrays it holds for practically no wrong operator.
    Products are not conjugated. Integers have to agree exactly.

    Args:
        x: The input.
        kernel: The kernel.
        g: A cotangent of the output: any array of the output's shape.
        operators: The three functions (forward(x, kernel), input_grad(g, kernel), weight_grad(x, g)). None
            takes jaxconv.conv, conv_input_grad and conv_weight_grad.
        contraction: How many products are summed for one element of a result; None takes the largest array's
            size.
        factor: As in `assert_close`.
        **options: Passed to jaxconv's functions: stride, padding, dilation, groups, padding_mode,
            layout, algorithm, precision, preferred_element_type.

    Raises:
        AssertionError: Two of the three numbers differ, or a result has not the shape of the slot it stands
            for.
        ValueError: `options` were given together with `operators`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, kernel, g = (rng.normal(size=s).astype(np.float32) for s in [(2, 9, 3), (3, 3, 4), (2, 5, 4)])
        >>> check_trilinear(x, kernel, g, stride=2, padding=1)

        Three functions of one's own, the last of them wrong by a factor:

        >>> x, kernel, g = np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]), np.array([[2.0]])
        >>> operators = (lambda x, w: x @ w, lambda g, w: g @ w.T, lambda x, g: x.T @ g / 2)
        >>> check_trilinear(x, kernel, g, operators=operators)
        Traceback (most recent call last):
        ...
        AssertionError: the operators are not the derivatives of one trilinear form:
          <forward(x, kernel), g> = 22.0
          <input_grad(g, kernel), x> = 22.0
          <weight_grad(x, g), kernel> = 11.0
          tolerance 2.809e-14 = 4 · eps 2.22e-16 · √2 · norms 22.36
    """
    if operators is None:
        operators = _jaxconv_operators(np.shape(x), np.shape(kernel), options)
    elif options:
        raise ValueError(
            f"got operators and the options {sorted(options)}; bind the options to the operators."
        )
    slots = (
        ("forward(x, kernel)", x, kernel, "g", g),
        ("input_grad(g, kernel)", g, kernel, "x", x),
        ("weight_grad(x, g)", x, g, "kernel", kernel),
    )
    values, lines, eps, size = [], [], 0.0, 0.0
    for operator, (name, a, b, other, operand) in zip(operators, slots, strict=True):
        result = np.asarray(operator(a, b))
        if result.shape != np.shape(operand):
            raise AssertionError(f"{name}: got shape {result.shape}, wanted {np.shape(operand)}.")
        values.append(np.sum(widest(result) * widest(operand)))
        lines.append(f"  <{name}, {other}> = {values[-1]}")
        eps, size = max(eps, spacing(result.dtype)), max(size, norm(result) * norm(operand))
    # A result y is off by δy with |δy| <= factor·eps·√K·|y| in norm, hence <y, g> by factor·eps·√K·|y|·|g|;
    # the difference of two such numbers by twice that.
    contraction = contraction or max(1, *(np.size(a) for a in (x, kernel, g)))
    tolerance = 2 * factor * eps * math.sqrt(contraction) * size
    if all(abs(values[i] - values[i - 1]) <= tolerance for i in range(3)):
        return
    rule = f"{2 * factor:g} · eps {eps:.4g} · √{contraction} · norms {size:.4g}"
    raise AssertionError(
        "\n".join(["the operators are not the derivatives of one trilinear form:", *lines])
        + f"\n  tolerance {tolerance:.4g} = {rule}"
    )


def _jaxconv_operators(x_shape: Any, kernel_shape: Any, options: dict[str, Any]) -> Sequence[Operator]:
    return (
        lambda x, kernel: conv(x, kernel, **options),
        lambda g, kernel: conv_input_grad(g, kernel, x_shape, **options),
        lambda x, g: conv_weight_grad(x, g, kernel_shape, **options),
    )
