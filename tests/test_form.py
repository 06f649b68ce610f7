"""The form of the programs: what XLA is given, and what its CPU compiler makes of it.

For every slot of every case, on every platform, in gradients, under vmap and inside loops: no negative
padding, no window larger than the kernel, channels-last dimension numbers (on a TPU for a gradient those of
JAX's), no reversed window. XLA
has no convolution that leaves the kernel open; there, and only there, the window is the output map and the
result has the kernel's size, which is the form that GPUs run as backward-filter.
"""

import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv
from tests.cases import BY_NAME, CASES, FEW, SLOTS, Case, all_slots, expected_slots

PLATFORMS = ("cpu", "cuda", "tpu")
every = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
few = pytest.mark.parametrize("case", FEW, ids=lambda c: c.name)


@dataclass(frozen=True)
class Convolution:
    """One convolution of a program, spatial axes only."""

    line: str
    labels: str
    window: tuple[int, ...]
    result: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    reverse: bool


def _ints(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"-?\d+", text)))


def _search(pattern: str, line: str) -> str:
    found = re.search(pattern, line)
    assert found, f"{pattern} is not in: {line}"
    return found[1]


def _spatial(dims: tuple[int, ...], labels: str) -> tuple[int, ...]:
    """The entries of `dims` whose label is a digit."""
    return tuple(size for size, label in zip(dims, re.findall(r"\w", labels), strict=True) if label.isdigit())


def stablehlo_convolutions(text: str) -> list[Convolution]:
    """From `jit(f).lower(...).as_text()`."""
    found = []
    for line in text.splitlines():
        if "stablehlo.convolution" not in line:
            continue
        labels = _search(r"dim_numbers = (.*?), window", line).replace(" ", "")
        stride, reverse = (_search(rf"{name} = \[(.*?)\]", line) for name in ("stride", "reverse"))
        pad = _search(r"pad = \[\[(.*?)\]\]", line)
        _, kernel, result = (_ints(dims) for dims in re.findall(r"tensor<((?:\d+x)+)", line))
        _, kernel_labels, result_labels = re.findall(r"\[.*?\]", labels)
        window, result = _spatial(kernel, kernel_labels), _spatial(result, result_labels)
        found.append(Convolution(line, labels, window, result, _ints(stride), _ints(pad), "true" in reverse))
    return found


def hlo_convolutions(text: str) -> list[Convolution]:
    """From `jit(f).lower(...).compile().as_text()`, in all computations."""
    found = []
    for line in text.splitlines():
        if not re.search(r"= \S+ convolution\(", line):
            continue
        labels = _search(r"dim_labels=(\w+_\w+->\w+)", line)
        window = dict(item.split("=") for item in _search(r"window={(.*?)}", line).split())
        size = _ints(window["size"])
        result = _spatial(_ints(_search(r"= \w+\[(.*?)\]", line)), labels.partition("->")[2])
        stride, pad = _ints(window.get("stride", " 1" * len(size))), _ints(window.get("pad", ""))
        found.append(Convolution(line, labels, size, result, stride, pad, "rhs_reversal" in window))
    return found


def check_form(convolutions: list[Convolution], case: Case, slots: tuple[str, ...], platform: str) -> None:
    digits = "".join(map(str, range(case.rank)))
    canonical = {
        f"[b,{','.join(digits)},f]x[{','.join(digits)},i,o]->[b,{','.join(digits)},f]",
        f"b{digits}f_{digits}io->b{digits}f",
    }
    if platform == "tpu":  # the numbers of JAX's own gradients: no array is transposed beforehand
        s = ",".join(digits)
        canonical |= {f"[b,{s},f]x[{s},o,i]->[b,{s},f]", f"[f,{s},b]x[i,{s},o]->[{s},b,f]"}
    for c in convolutions:
        assert min(c.pad, default=0) >= 0, f"negative padding: {c.line}"
        assert not c.reverse, f"reversed window: {c.line}"
        assert c.labels in canonical, f"not channels-last: {c.line}"
        assert len(c.window) == len(c.result) == case.rank, c.line
        small = all(w <= k for w, k in zip(c.window, case.kernel, strict=True))
        kernel_is_open = "weight_grad" in slots and c.result == case.kernel
        backward_filter = kernel_is_open and all(w <= o for w, o in zip(c.window, case.out, strict=True))
        assert small or backward_filter, f"window larger than the kernel {case.kernel}: {c.line}"
        if not small and platform == "cuda":  # it runs as backward-filter only if it does not stride
            assert set(c.stride) == {1}, f"strided by the dilation: {c.line}"


def check_pads(text: str) -> None:
    """XLA folds a pad into the convolution that it feeds, so a pad has to be sound as well."""
    for line in text.splitlines():
        if "stablehlo.pad" in line:
            parts = (_search(rf"{name} = \[(.*?)\]", line) for name in ("low", "high", "interior"))
            low, high, interior = map(_ints, parts)
            assert min(low + high) >= 0, f"negative padding: {line}"
            assert set(interior) <= {0}, f"stuffed with zeros: {line}"


def products(text: str) -> int:
    """How many operations multiply arrays: a program without any would pass every check."""
    return len(
        re.findall(r"stablehlo\.(?:convolution|dot_general|multiply)|\b(?:convolution|dot|multiply)\(", text)
    )


def touches(case: Case) -> bool:
    """Whether any x meets any kernel element."""
    ones = [np.ones_like(a) for a in case.arrays(np.float32)]
    return any(result.any() for result in expected_slots(case, *ones).values())


def lowered(fn, args, platform: str) -> str:
    return jax.jit(fn).trace(*args).lower(lowering_platforms=(platform,)).as_text()


def compiled(fn, args) -> str:
    return jax.jit(fn).lower(*args).compile().as_text() or ""


# The checks can fail: lax's own programs have each of the faults.


def lax_conv(x, kernel, padding="VALID", labels=("NWC", "WIO", "NWC"), stride=1):
    return lax.conv_general_dilated(x, kernel, (stride,) * (x.ndim - 2), padding, dimension_numbers=labels)


def test_checks_find_what_they_look_for():
    case = BY_NAME["1d"]
    x, kernel, _ = case.arrays(np.float32)

    def found(fn, *args):
        return stablehlo_convolutions(lowered(fn, args, "cpu"))

    check_form(found(lax_conv, x, kernel), case, ("forward",), "cpu")
    with pytest.raises(AssertionError, match="negative padding"):
        check_form(found(lambda x, k: lax_conv(x, k, [(-1, 2)]), x, kernel), case, ("forward",), "cpu")
    with pytest.raises(AssertionError, match="not channels-last"):
        check_form(found(jax.grad(lambda k: lax_conv(x, k).sum()), kernel), case, ("weight_grad",), "cpu")
    with pytest.raises(AssertionError, match="window larger"):
        check_form(found(lax_conv, x, np.ones((4, 3, 4), np.float32)), case, ("forward",), "cpu")

    weight_grad = lambda x, g: jaxconv.conv_weight_grad(x, g, case.kernel_shape, algorithm="direct")  # noqa: E731
    backward_filter = found(weight_grad, x, np.ones(case.y_shape, np.float32))
    check_form(backward_filter, case, ("weight_grad",), "cuda")
    with pytest.raises(AssertionError, match="window larger"):
        check_form(backward_filter, case, ("forward",), "cuda")
    with pytest.raises(AssertionError, match="negative padding"):
        check_pads(lowered(lambda x: lax.pad(x, 0.0, [(0, 0, 0), (-1, 2, 0), (0, 0, 0)]), (x,), "cpu"))
    with pytest.raises(AssertionError, match="stuffed"):
        check_pads(lowered(lambda x: lax.pad(x, 0.0, [(0, 0, 0), (0, 0, 1), (0, 0, 0)]), (x,), "cpu"))


def test_checks_find_a_reversed_window():
    """XLA's CPU compiler exchanges a large kernel with a small map, and reverses."""
    case = BY_NAME["2d_kernel_exceeds_input"]
    x, kernel, _ = case.arrays(np.float32)
    fn = lambda x, k: lax_conv(x, k, "SAME", ("NHWC", "HWIO", "NHWC"))  # noqa: E731
    convolutions = hlo_convolutions(compiled(fn, (x, kernel)))
    assert [c.reverse for c in convolutions] == [True]


def test_stock_transposed_gradient_has_the_fault_that_we_avoid():
    """jax.grad of lax.conv_transpose convolves with a window as large as the stretched map."""
    x, kernel = jnp.ones((2, 7, 3)), jnp.ones((3, 3, 4))

    def loss(kernel):
        return lax.conv_transpose(x, kernel, (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")).sum()

    [c] = stablehlo_convolutions(lowered(jax.grad(loss), (kernel,), "cuda"))
    assert c.window[0] > 7


# Every slot of every case, on every platform.


@every
@pytest.mark.parametrize("slot", SLOTS)
def test_lowered(case, slot):
    args = case.arrays(np.float32)
    for platform in PLATFORMS:
        text = lowered(lambda *a: all_slots(case)(*a)[slot], args, platform)
        check_form(stablehlo_convolutions(text), case, (slot,), platform)
        check_pads(text)
        assert products(text) or not touches(case)


@every
def test_compiled_for_cpu(case):
    text = compiled(all_slots(case), case.arrays(np.float32))
    check_form(hlo_convolutions(text), case, SLOTS, "cpu")


# Gradients of first and second order, vmap, loops.


def all_gradients(case: Case):
    """Cotangents and tangents of all three operators, and a Hessian-vector product."""

    def fn(x, kernel, g):
        arrays = (x, kernel, g)
        results, pull = jax.vjp(all_slots(case), *arrays)
        _, tangents = jax.jvp(all_slots(case), arrays, arrays)
        loss = lambda *a: sum(jnp.sum(r**2) for r in all_slots(case)(*a).values())  # noqa: E731
        return pull(results), tangents, jax.jvp(jax.grad(loss, (0, 1, 2)), arrays, arrays)[1]

    return fn


def mapped(case: Case):
    """All slots under vmap: over x, over the kernel, over all three."""

    def fn(x, kernel, g):
        over = lambda *axes: jax.vmap(all_slots(case), in_axes=axes)  # noqa: E731
        return (
            over(0, None, None)(x, kernel[0], g[0]),
            over(None, 0, None)(x[0], kernel, g[0]),
            over(0, 0, 0)(x, kernel, g),
        )

    return fn


def stacked(case: Case) -> tuple[np.ndarray, ...]:
    return tuple(np.stack([a, -a, 2 * a]) for a in case.arrays(np.float32))


@few
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(("transform", "arrays"), [(all_gradients, Case.arrays), (mapped, stacked)])
def test_transformed(case, transform, arrays, platform):
    text = lowered(transform(case), arrays(case), platform)
    check_form(stablehlo_convolutions(text), case, SLOTS, platform)
    check_pads(text)
    assert products(text)


@few
def test_transformed_and_compiled_for_cpu(case):
    for transform, args in ((all_gradients, case.arrays(np.float32)), (mapped, stacked(case))):
        text = compiled(transform(case), args)
        check_form(hlo_convolutions(text), case, SLOTS, "cpu")


def repeated(loop: str, body, arrays):
    """`body` of the arrays inside a loop; its results flow into the next step, so none can be left out."""

    def step(arrays):
        total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(body(*arrays)))
        return tuple(a + 1e-3 * total for a in arrays)

    return {
        "scan": lambda: lax.scan(lambda c, _: (step(c), None), arrays, None, length=3)[0],
        "while": lambda: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, step(c[1])), (0, arrays))[1],
        "map": lambda: lax.map(lambda t: step(tuple(t * a for a in arrays)), jnp.arange(3.0)),
        "cond": lambda: lax.cond(jnp.sum(arrays[0]) > 0, step, lambda a: a, arrays),
    }[loop]()


@few
@pytest.mark.parametrize("loop", ["scan", "while"])
def test_inside_loops(case, loop):
    """Only the entry computation is canonicalised by XLA; the bodies have to be right as they are."""
    args = tuple(map(jnp.asarray, case.arrays(np.float32)))
    for body in (all_slots(case), all_gradients(case)) if loop == "scan" else (all_slots(case),):
        fn = lambda *a, body=body: repeated(loop, body, a)  # noqa: E731
        text = lowered(fn, args, "cpu")
        check_form(stablehlo_convolutions(text), case, SLOTS, "cpu")
        check_pads(text)
        text = compiled(fn, args)
        assert " while(" in text
        assert products(text) or "ynn" in text
        check_form(hlo_convolutions(text), case, SLOTS, "cpu")


@pytest.mark.parametrize("loop", ["map", "cond"])
def test_inside_other_control_flow(loop):
    case = BY_NAME["2d_stride"]
    args = tuple(map(jnp.asarray, case.arrays(np.float32)))
    text = compiled(lambda *a: repeated(loop, all_slots(case), a), args)
    check_form(hlo_convolutions(text), case, SLOTS, "cpu")


def test_gradient_of_a_scan():
    """The backward scan's body holds input and weight gradients; its convolutions are canonical too."""
    case = BY_NAME["2d_same_k3"]
    x, kernel = jnp.ones((2, 6, 7, 4)), jnp.ones((5, 3, 3, 4, 4))

    def loss(x, kernels):
        return jnp.sum(lax.scan(lambda x, k: (jnp.tanh(jaxconv.conv(x, k, padding=1)), None), x, kernels)[0])

    text = compiled(jax.grad(loss, (0, 1)), (x, kernel))
    convolutions = hlo_convolutions(text)
    assert len(convolutions) >= 3 or "ynn" in text
    check_form(convolutions, case, SLOTS, "cpu")


# The jaxprs: three primitives, closed under differentiation, the roles exchanged where they should be.


def equations(fn, *args):
    """All convolution equations of a jaxpr, nested ones included."""

    def walk(jaxpr):
        for eqn in jaxpr.eqns:
            if "conv" in eqn.primitive.name:
                yield eqn
            for param in jax.tree.leaves(
                eqn.params, is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")
            ):
                if hasattr(param, "jaxpr") or hasattr(param, "eqns"):
                    yield from walk(getattr(param, "jaxpr", param))

    return list(walk(jax.make_jaxpr(fn)(*args).jaxpr))


def names(fn, *args):
    return [eqn.primitive.name for eqn in equations(fn, *args)]


def test_gradients_of_a_convolution_are_the_other_two_operators():
    case = BY_NAME["2d_groups_strided_dilated"]
    x, kernel, _ = case.arrays(np.float32)
    loss = lambda x, kernel: jaxconv.conv(x, kernel, **case.options).sum()  # noqa: E731
    assert names(loss, x, kernel) == ["conv_forward"]
    assert names(jax.grad(loss, 0), x, kernel)[1:] == ["conv_input_grad"]
    assert names(jax.grad(loss, 1), x, kernel)[1:] == ["conv_weight_grad"]


def test_weight_gradient_of_a_transposed_convolution_is_weight_grad_with_arrays_exchanged():
    """weight_grad(x, g) of the convolution, where x is the cotangent and g the user's own input."""
    case = BY_NAME["2d_groups_strided_dilated"]
    _, kernel, g = case.arrays(np.float32)

    def conv_transpose(g, kernel):
        return jaxconv.conv_transpose(g, kernel, output_shape=case.size, **case.options)

    assert names(conv_transpose, g, kernel) == ["conv_input_grad"]

    def pull(g, kernel, ct):
        return jax.vjp(conv_transpose, g, kernel)[1](ct)

    ct = np.ones(case.x_shape, np.float32)
    found = {eqn.primitive.name: eqn for eqn in equations(pull, g, kernel, ct)}
    assert set(found) == {"conv_input_grad", "conv_forward", "conv_weight_grad"}
    shapes = {name: [v.aval.shape for v in eqn.invars] for name, eqn in found.items()}
    assert shapes["conv_weight_grad"] == [ct.shape, g.shape]
    assert shapes["conv_forward"] == [ct.shape, kernel.shape]
    assert len({eqn.params["spec"] for eqn in found.values()}) == 1


@pytest.mark.parametrize("transform", [all_gradients, mapped])
def test_no_other_convolution_appears(transform):
    case = BY_NAME["2d_groups_strided_dilated"]
    args = stacked(case) if transform is mapped else case.arrays(np.float32)
    assert set(names(transform(case), *args)) == {f"conv_{slot}" for slot in SLOTS}


def test_no_axis_is_taken_for_a_group_dimension() -> None:
    """A kernel of 2 over an unpadded input stuffed by 2 is XLA's mark of groups: it aborts the process."""
    x, kernel = jnp.ones((1, 4, 3, 2)), jnp.ones((2, 5, 3, 2))
    text = (
        jax.jit(lambda x, k: jaxconv.conv_transpose(x, k, stride=(2, 1), padding=(1, 0)))
        .lower(x, kernel)
        .as_text()
    )
    assert "pad = [[0, 1], [4, 4]], lhs_dilate = [2, 1]" in text


@pytest.mark.parametrize(
    ("algorithm", "kept"),
    [
        ("direct", {"conv_input_grad": "direct", "conv_forward": "direct", "conv_weight_grad": "direct"}),
        ("subpixel", {"conv_input_grad": "subpixel", "conv_forward": None, "conv_weight_grad": None}),
    ],
)
def test_forced_algorithm_stays_in_force_for_the_gradients_it_can_compute(algorithm, kept):
    case = BY_NAME["2d_stride"]
    x, kernel, g = case.arrays(np.float32)

    def pull(g, kernel, ct):
        options = dict(case.options, algorithm=algorithm)
        return jax.vjp(lambda *a: jaxconv.conv_input_grad(*a, case.x_shape, **options), g, kernel)[1](ct)

    found = {eqn.primitive.name: eqn.params["algorithm"] for eqn in equations(pull, g, kernel, x)}
    assert found == kept
