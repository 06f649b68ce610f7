"""The words after `jaxconv shape`, `jaxconv draw` and `jaxconv page`, and what they do."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..geometry import Bounds
from ..geometry.padding import per_axis
from .animate import animate
from .calls import calls
from .coverage import draw_coverage
from .draw import draw
from .groups import groups
from .layer import Layer, layer
from .matrix import draw_matrix
from .page import page
from .shape import Answer, choices, report


def add_to(commands: Any) -> None:
    """Adds the three commands to argparse's subparsers; `explain` of the arguments is what to call."""
    shape = commands.add_parser(
        "shape",
        help="sizes of a convolution, both ways, and the call in five libraries",
        description="With parameters: sizes with the formula worked out, cost, and the call in PyTorch, "
        "TensorFlow, Keras, Flax and jaxconv. With --output: all parameters that lead from "
        "one size to the other, or why none do.",
        epilog="examples: jaxconv shape 32,32 --kernel 3 --stride 2 --padding 1     "
        "jaxconv shape 16 --output 32 --transposed --kernel 3 --stride 2",
    )
    _layer_options(shape)
    shape.add_argument("--output", metavar="N", type=_ints, help="wanted size: what leads there?")
    for name, usual in (("kernel", 7), ("stride", 4), ("dilation", 1), ("padding", 3)):
        shape.add_argument(
            f"--max-{name}", type=int, default=usual, help=f"with --output; {usual} by default"
        )
    shape.set_defaults(explain=_shape)
    pictures = commands.add_parser(
        "draw",
        help="a picture or animation of a convolution",
        description="Draws a convolution: .svg and .png are pictures, .gif and .html animations.",
        epilog="example: jaxconv draw 5,5 --kernel 3 --stride 2 --transposed --method subpixel --out a.gif",
    )
    _layer_options(pictures)
    pictures.add_argument("--out", type=Path, required=True, metavar="FILE", help=".svg, .png, .gif or .html")
    pictures.add_argument("--view", choices=["steps", "matrix", "coverage", "groups"], default="steps")
    pictures.add_argument("--method", help="of a transposed one: overlap_add, zero_insertion or subpixel")
    pictures.add_argument("--at", type=int, help="the step that a picture shows")
    pictures.add_argument(
        "--theme",
        choices=["auto", "light", "dark"],
        default="auto",
        help="auto: as the viewer likes, where that is possible",
    )
    pictures.set_defaults(explain=_draw)
    play = commands.add_parser(
        "page", help="an HTML page to play with", description="Writes the page to play with."
    )
    play.add_argument("--out", type=Path, default=Path("convolution.html"), metavar="FILE")
    play.set_defaults(explain=_page)


def _layer_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "size", type=_ints, metavar="SIZE", help="of the input: 32, or 32,48 for two dimensions"
    )
    parser.add_argument("--kernel", type=_ints, metavar="K", help="taps: 3, or one for each dimension: 3,5")
    parser.add_argument("--stride", type=_ints, metavar="S")
    parser.add_argument(
        "--padding",
        type=_padding,
        metavar="P",
        help="1, or 1:2 for the front and the back, or same, valid, full, causal",
    )
    parser.add_argument("--dilation", type=_ints, metavar="D")
    parser.add_argument("--groups", type=int, default=1, metavar="G")
    parser.add_argument("--channels", type=_channels, default=(None, None), metavar="IN:OUT")
    parser.add_argument("--transposed", action="store_true")
    parser.add_argument("--output-padding", type=_ints, default=0, metavar="P")


def _layer(args: argparse.Namespace) -> Layer:
    if args.kernel is None:
        raise ValueError("--kernel is missing; say how many taps.")
    inner, outer = args.channels
    padding = 0 if args.padding is None else args.padding
    if isinstance(padding, list) and len(padding) == 1 and not isinstance(args.size, int):
        padding *= len(args.size)
    return layer(
        args.size,
        args.kernel,
        stride=1 if args.stride is None else args.stride,
        padding=padding,
        dilation=1 if args.dilation is None else args.dilation,
        groups=args.groups,
        in_channels=inner,
        out_channels=outer,
        transposed=args.transposed,
        output_padding=args.output_padding,
    )


def _shape(args: argparse.Namespace) -> None:
    if args.output is None:
        described = _layer(args)
        print(report(described))
        if not all(described.out):
            return
    else:
        answers = _answers(args)
        print("\n\n".join(dict.fromkeys(map(str, answers))))
        if not all(answer.choices for answer in answers):
            return
        described = _first(args, answers)
        print("\nThe first of them:")
    for call in calls(described):
        note = f"   # {call.note}" if call.note else ""
        print(f"\n{call.library}:{note}")
        for line in call.code.split("\n") if call.code else ["(no such call)"]:
            print(f"  {line}")


def _answers(args: argparse.Namespace) -> list[Answer]:
    """What leads to --output, for each axis by itself."""
    sizes = (args.size,) if isinstance(args.size, int) else args.size
    wanted = per_axis(args.output, len(sizes), "--output")
    given = []
    for name in ("kernel", "stride", "dilation"):
        fixed, most = getattr(args, name), getattr(args, f"max_{name}")
        usual = [range(1, most + 1)] * len(sizes)
        given.append(usual if fixed is None else [[n] for n in per_axis(fixed, len(sizes), f"--{name}")])
    return [
        choices(
            size,
            out,
            bounds=Bounds(
                kernels, strides, dilations, range(args.max_padding + 1), range(max(*strides, *dilations))
            ),
            transposed=args.transposed,
        )
        for size, out, kernels, strides, dilations in zip(sizes, wanted, *given, strict=True)
    ]


def _first(args: argparse.Namespace, answers: list[Answer]) -> Layer:
    """The layer of the first choice along each axis."""
    each = [answer.choices[0] for answer in answers]
    inner, outer = args.channels
    return layer(
        [answer.size for answer in answers],
        [c.kernel for c in each],
        stride=[c.stride for c in each],
        padding=[(c.lo, c.hi) for c in each],
        dilation=[c.dilation for c in each],
        groups=args.groups,
        in_channels=inner,
        out_channels=outer,
        transposed=args.transposed,
        output_padding=[c.output_padding for c in each],
    )


def _draw(args: argparse.Namespace) -> None:
    if args.view == "groups":
        inner, outer = (args.groups if c is None else c for c in args.channels)
        grouped = groups(inner, outer, args.groups, transposed=args.transposed)
        print(grouped)
        grouped.picture().save(args.out, args.theme)
        return
    described = _layer(args)
    if args.out.suffix in (".gif", ".html"):
        if args.view != "steps":
            raise ValueError(f"--view {args.view} does not move; write .svg or .png.")
        animate(described, method=args.method).save(args.out, "dark" if args.theme == "dark" else "light")
        return
    views: dict[str, Callable[[], Any]] = {
        "steps": lambda: draw(described, method=args.method, at=args.at),
        "matrix": lambda: draw_matrix(described),
        "coverage": lambda: draw_coverage(described),
    }
    views[args.view]().save(args.out, args.theme)


def _page(args: argparse.Namespace) -> None:
    args.out.write_text(page(), encoding="utf-8")
    print(f"wrote {args.out}; open it in a browser")


def _ints(text: str) -> int | tuple[int, ...]:
    values = tuple(int(part) for part in text.replace("x", ",").split(","))
    return values[0] if len(values) == 1 else values


def _padding(text: str) -> Any:
    if text.isalpha() or "_" in text:
        return text.upper()
    sides = [[int(n) for n in part.split(":")] for part in text.replace("x", ",").split(",")]
    if len(sides) == 1 and len(sides[0]) == 1:
        return sides[0][0]
    return [(side[0], side[-1]) for side in sides]


def _channels(text: str) -> tuple[int, int]:
    inner, outer = text.split(":")
    return int(inner), int(outer)
