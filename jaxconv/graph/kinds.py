"""What kind of operation a primitive is."""

from __future__ import annotations

# Each element of the result is made of the elements at its place in the operands; scalars spread.
_ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp clz
    complex conj convert_element_type copy copy_p cos cosh device_put digamma div eq erf erf_inv erfc exp
    exp2 expm1 floor ge gt igamma igamma_grad_a igammac imag integer_pow is_finite le lgamma log log1p
    logistic lt max min mul name ne neg nextafter not optimization_barrier or pcast polygamma
    population_count pow pvary real reduce_precision regularized_incomplete_beta rem round rsqrt select_n
    sharding_constraint shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square
    stop_gradient sub tan tanh xor zeta
"""
_OPS = {
    "conv": "conv_forward conv_input_grad conv_weight_grad conv_general_dilated",
    "dot": "dot_general",
    "window": "reduce_window reduce_window_sum reduce_window_max reduce_window_min pool_pick",
    "resize": "resample",  # and a product with a matrix that shapes alone decide
    "elementwise": _ELEMENTWISE,
    "reduce": "reduce argmax argmin "
    + " ".join(f"reduce_{how}" for how in ("sum", "max", "min", "prod", "and", "or", "xor")),
    "cumulative": "cumsum cumprod cummax cummin cumlogsumexp",
    "reshape": "reshape squeeze expand_dims",
    "transpose": "transpose",
    "broadcast": "broadcast_in_dim",
    "concatenate": "concatenate",
    "pad": "pad",
    "slice": "slice",
    "split": "split",
    "reverse": "rev",
    "dynamic_slice": "dynamic_slice",
    "gather": "gather",
    "constant": "iota random_seed random_wrap random_bits random_fold_in rng_uniform",
    "loop": "scan while",
    "branch": "cond",
}
_OF = {primitive: op for op, primitives in _OPS.items() for primitive in primitives.split()}
OPS = (*_OPS, "opaque")


def op_of(primitive: str) -> str:
    """The kind of a primitive; "opaque" for one that is not known.

    Example:
      >>> op_of("reduce_window_max"), op_of("fft"), len(OPS)
      ('window', 'opaque', 21)
    """
    return _OF.get(primitive, "opaque")
