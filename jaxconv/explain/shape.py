"""Size arithmetic in words: forwards with the formula worked out, backwards as the choices there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..geometry import Bounds, Choice, missing_padding, reachable
from .layer import Layer


@dataclasses.dataclass(frozen=True)
class Answer:
    """What leads from one size to another along one axis.

    Args:
      size: input positions.
      out: wanted output positions.
      transposed: of a transposed convolution.
      choices: all that give `out`, the most usual ones first.
      possible: the sizes that some choice gives, ascending.
      reasons: where there are no choices, a sentence for each kernel, stride and dilation that was
        tried, up to six of them.
    """

    size: int
    out: int
    transposed: bool
    choices: tuple[Choice, ...]
    possible: tuple[int, ...]
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        """A table of the choices, or why there are none and what is possible."""
        what = "transposed convolution" if self.transposed else "convolution"
        head = f"{self.size} -> {self.out} by a {what}: "
        if not self.choices:
            sizes = ", ".join(map(str, self.possible)) or "none"
            lines = [f"{head}impossible within these bounds.", *self.reasons, f"Possible sizes: {sizes}."]
            return "\n".join(lines)
        lines = [
            f"{head}{len(self.choices)} choice{'s' * (len(self.choices) > 1)}",
            "kernel  stride  dilation  padding  output_padding",
        ]
        for c in self.choices:
            pad = str(c.lo) if c.lo == c.hi else f"{c.lo}:{c.hi}"
            extra = c.output_padding if self.transposed else "-"
            lines.append(f"{c.kernel:6}  {c.stride:6}  {c.dilation:8}  {pad:>7}  {extra:>14}")
        return "\n".join(lines)


USUAL = Bounds()


def choices(size: int, output_size: int, *, bounds: Bounds = USUAL, transposed: bool = False) -> Answer:
    """All parameters that lead from one size to another, or why there are none.

    Args:
      size: input positions along one axis.
      output_size: wanted output positions.
      bounds: what to try; fix a parameter by a list of one.
      transposed: look for transposed convolutions: padding and output_padding.

    Returns:
      The choices, and the sizes that are possible within the bounds; it prints as a table.

    Raises:
      ValueError: for sizes below one, or bounds that leave nothing to try.

    Example:
      >>> bounds = Bounds(kernels=[3], strides=[2])
      >>> choices(16, 32, bounds=bounds, transposed=True).choices[0]
      Choice(kernel=3, stride=2, dilation=1, lo=1, hi=1, output_padding=1)
      >>> print(choices(32, 20, bounds=bounds))
      32 -> 20 by a convolution: impossible within these bounds.
      kernel 3, stride 2, dilation 1: 20 needs lo + hi = 9 or 10; here it is 0 to 6.
      Possible sizes: 15, 16, 17, 18.
    """
    for name, value in (("size", size), ("output_size", output_size)):
        if type(value) is not int or value < 1:
            raise ValueError(f"{name}={value!r} must be an int of at least 1.")
    for field in dataclasses.fields(bounds):
        if not getattr(bounds, field.name):
            raise ValueError(f"bounds.{field.name} is empty; nothing is left to try.")
    found = reachable(size, bounds, transposed=transposed)
    reasons = () if output_size in found else tuple(_reasons(size, output_size, bounds, transposed))
    return Answer(size, output_size, transposed, tuple(found.get(output_size, ())), tuple(found), reasons)


def _reasons(size: int, out: int, bounds: Bounds, transposed: bool) -> list[str]:
    most = 2 * max(bounds.paddings)
    lines = []
    for kernel, stride, dilation in bounds.windows():
        sums = missing_padding(size, out, (kernel, stride, dilation), transposed=transposed)
        wanted = f"{sums[0]}" if len(sums) == 1 else f"{', '.join(map(str, sums[:-1]))} or {sums[-1]}"
        verdict = f"needs lo + hi = {wanted}; here it is {2 * min(bounds.paddings)} to {most}."
        if sums[-1] < 0:
            verdict = (
                f"would need {wanted} for lo + hi: without padding and with all output padding the "
                f"output is {-sums[-1]} too short."
                if transposed
                else f"leaves {-sums[-1]} positions of the input over: crop it, or take a larger stride."
            )
        lines.append(f"kernel {kernel}, stride {stride}, dilation {dilation}: {out} {verdict}")
    return lines[:6]


def report(layer: Layer) -> str:
    """Sizes with the formula worked out, cost and field of view, as text.

    Args:
      layer: what `explain.layer` returned.

    Returns:
      Several lines.

    Raises:
      ValueError: never for what `explain.layer` returned.

    Example:
      >>> from jaxconv.explain import layer
      >>> print(report(layer(32, 3, stride=2, padding=1)))
      convolution 32 -> 16, channels 1 -> 1
        span = dilation * (kernel - 1) + 1 = 1 * (3 - 1) + 1 = 3
        out = (size + lo + hi - span) // stride + 1 = (32 + 1 + 1 - 3) // 2 + 1 = 16
        kernel (3, 1, 1): 3 parameters; 47 multiply-adds for one example
        an output sees 3 inputs along an axis; neighbouring outputs are 2 apart
        coverage is uneven: some inputs are seen by more taps than others
    """
    lines = [
        f"{'transposed ' * layer.transposed}convolution {_by(layer.size)} -> {_by(layer.out)}, channels "
        f"{layer.in_channels} -> {layer.out_channels}" + f", groups {layer.groups}" * (layer.groups > 1)
    ]
    for line in dict.fromkeys(formula(layer, i) for i in range(layer.rank)):
        lines += line.split("\n")
    part = "outputs are made of" if layer.transposed else "inputs are seen by"
    even = (
        "uneven: some " + part + " more taps than others"
        if layer.checkerboard
        else "even away from the borders"
    )
    jump = _by(layer.jump)
    lines += [
        f"kernel {layer.kernel_shape}: {layer.parameters} parameters; {layer.multiply_adds} multiply-adds "
        "for one example",
        f"an output sees {_by(layer.field)} inputs along an axis; neighbouring outputs are {jump} apart",
        f"coverage is {even}",
    ]
    return "\n  ".join(lines)


def formula(layer: Layer, index: int) -> str:
    """The size along one axis, worked out in two lines: the span, then the output."""
    axis, (lo, hi) = layer.axes[index], layer.padding[index]
    values: Mapping[str, int] = {
        "size": layer.size[index],
        "kernel": axis.kernel,
        "stride": axis.stride,
        "dilation": axis.dilation,
        "span": axis.span,
        "lo": lo,
        "hi": hi,
        "output_padding": layer.output_padding[index],
    }
    rule = "(size + lo + hi - span) // stride + 1"
    if layer.transposed:
        rule = "(size - 1) * stride + span - lo - hi + output_padding"
    result = str(layer.out[index])
    if result == "0":
        result += ", as it does not fit"
    span = _worked_out("span", "dilation * (kernel - 1) + 1", values, str(axis.span))
    return f"{span}\n{_worked_out('out', rule, values, result)}"


def _worked_out(name: str, rule: str, values: Mapping[str, int], result: str) -> str:
    words = [str(values[w]) if w in values else w for w in rule.replace("(", "( ").replace(")", " )").split()]
    return f"{name} = {rule} = {' '.join(words).replace('( ', '(').replace(' )', ')')} = {result}"


def _by(values: tuple) -> str:
    return "x".join(map(str, values))
