"""Checks of values and derivatives with tolerances that are derived, for any JAX function.

    assert_close           two arrays agree to what rounding explains
    check_against_oracle   a function agrees with a float64 NumPy function
    check_grads            forward and reverse mode of any order agree with differences of the function
    check_trilinear        the three operators of a convolution are derivatives of one trilinear form

Every check raises an AssertionError that says where, what it got, what it wanted and what was tolerated, and
is silent otherwise. The one tolerance of the module is Higham and Mary's probabilistic bound: a sum of K
products, computed with unit roundoff eps/2 in any order, is off by at most λ·(eps/2)·√K·Σ|a||b| with
probability at least 1 - 2·exp(-λ²/2) for each element; `factor` is λ/2.
"""

from .close import assert_close as assert_close
from .close import check_against_oracle as check_against_oracle
from .grads import check_grads as check_grads
from .trilinear import check_trilinear as check_trilinear
