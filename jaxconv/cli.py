"""The command line: `jaxconv COMMAND`; each command is a few lines over a library call."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from .explain import commands as commands_of_explain
from .explain.see import commands as commands_of_see


class Refused(Exception):
    """What the user has to change; the message is all that is printed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      argv: the words after `jaxconv`; by default those that the process was started with.

    Returns:
      0, or 1 after a message on stderr.
    """
    args = _parser().parse_args(argv)
    try:
        (args.run if "run" in args else _explain)(args)
    except Refused as refusal:
        print(f"jaxconv {args.command}: {refusal}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jaxconv", description="Convolutions for JAX.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    targets = commands.add_parser(
        "targets",
        help="compile a function for a device that is not there",
        description="Compile a function for a device that is not there, and say what the compiler made of "
        "its convolutions: memory, modelled time, collectives, findings with remedies. Nothing runs.",
        epilog="example: jaxconv targets model.py:loss 'f32[8,56,56,64]' 'f32[3,3,64,64]' --device v5e",
    )
    targets.add_argument("function", metavar="FILE.py:FUNCTION", help="what to compile")
    targets.add_argument(
        "shapes",
        nargs="*",
        metavar="SHAPE",
        help="of each argument, as f32[8,56,56,64]; f32[8@4,56,56,64] divides 8 over 4 devices",
    )
    targets.add_argument("--device", default="h100", help="h100 (the default) or v5e")
    targets.add_argument("--install", action="store_true", help="as it is under jaxconv.install()")
    targets.add_argument("--hlo", type=Path, metavar="FILE", help="write the compiled program there")
    targets.set_defaults(run=_targets)
    summary = commands.add_parser(
        "summary",
        help="what a model costs, layer by layer",
        description="For each layer of a function: shapes, parameters, multiply-adds forward and backward, "
        "bytes, receptive field, and the algorithm that jaxconv chooses. Nothing runs.",
        epilog="example: jaxconv summary model.py:net 'f32[1,224,224,3]'",
    )
    summary.add_argument("function", metavar="FILE.py:FUNCTION", help="a function or a model")
    summary.add_argument("shapes", nargs="*", metavar="SHAPE", help="of each argument, as f32[8,56,56,64]")
    summary.add_argument(
        "--wrt", type=int, metavar="N", help="which argument is the input, from 0; by default the first"
    )
    summary.add_argument("--platform", help="for the algorithms: cpu (the default), cuda, rocm or tpu")
    summary.add_argument("--html", type=Path, metavar="FILE", help="write the table there as a page")
    summary.add_argument("--csv", type=Path, metavar="FILE", help="write the exact numbers there")
    summary.set_defaults(run=_summary)
    commands_of_explain.add_to(commands)
    commands_of_see.add_to(commands).set_defaults(run=_see)
    _add_deblur(commands)
    return parser


def _add_deblur(commands: Any) -> None:
    from .restore import words

    deblur = commands.add_parser(
        "deblur",
        help="restore a blurred picture",
        description="Restore a picture whose blur is known, and draw it before and after, with the PSF and "
        "what is left unexplained. Options are those of the method.",
        epilog="example: jaxconv deblur street.jpg --psf motion:15,30 --method fista",
    )
    add = deblur.add_argument
    add("image", type=Path, metavar="IMAGE", help="PNG, JPEG, TIFF, ...; grey or colour, 8 or 16 bits")
    add("--psf", required=True, help=f"{words.PSF_WORDS}, or a picture of one point")
    add("--method", choices=words.METHODS, default="wiener", help="fista is total variation; default wiener")
    add("--out", type=Path, metavar="FILE", help="the result, else IMAGE_deblurred")
    add("--figure", type=Path, metavar="PNG", help="the drawing, else IMAGE_deblur.png")
    add("--stop", metavar="RULE", help="whiteness, change:TOLERANCE or discrepancy:NOISE")
    add("--accelerate", action="store_true", default=None, help="extrapolate")
    for name, (kind, meaning) in words.OPTIONS.items():
        add(f"--{name}", type=kind, metavar=name.upper(), help=meaning)
    deblur.set_defaults(run=_deblur, options=("stop", "accelerate", *words.OPTIONS))


def _deblur(args: argparse.Namespace) -> None:
    from .restore.deblur import deblur
    from .restore.words import parse_rule

    image: Path = args.image
    out = args.out or image.with_name(f"{image.stem}_deblurred{image.suffix}")
    figure = args.figure or image.with_name(f"{image.stem}_deblur.png")
    options = {name: value for name in args.options if (value := getattr(args, name)) is not None}
    with _refusing():
        if args.stop:
            options["stop"] = parse_rule(args.stop)
        restored = deblur(image, out, psf=args.psf, method=args.method, options=options, figure=figure)
    print(f"{restored.report}\n{out}\n{figure}")


def _see(args: argparse.Namespace) -> None:
    with _refusing():
        print(commands_of_see.see(args, load))


def _explain(args: argparse.Namespace) -> None:
    with _refusing():
        args.explain(args)


@contextlib.contextmanager
def _refusing() -> Generator[None, None, None]:
    """What words or files of the user make a command raise, as what he has to change."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise Refused(f"{error.name} is missing; pip install 'jaxconv[pictures]'.") from None
    except (ValueError, OSError) as error:
        raise Refused(str(error)) from None


def _use_cpu() -> None:
    """Nothing runs, and the device's plugin would look for the device."""
    import jax

    if not jax.config.jax_platforms:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_platforms", "cpu")


def _summary(args: argparse.Namespace) -> None:
    _use_cpu()
    from . import graph
    from .targets.shapes import parse_shapes

    fn = load(args.function)
    try:
        shapes = parse_shapes(args.shapes, "h100")
        found = graph.summary(fn, *shapes, wrt=args.wrt, platform=args.platform)
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise Refused(f"{kind}{error}") from error
    found.show()
    with _refusing():
        for path, text in ((args.html, found.to_html), (args.csv, found.to_csv)):
            if path:
                path.write_text(text())


def _targets(args: argparse.Namespace) -> None:
    _use_cpu()
    from . import dropin, targets
    from .targets.shapes import parse_shapes

    try:
        if reason := targets.missing(args.device):
            raise Refused(reason)
        shapes = parse_shapes(args.shapes, args.device)
    except ValueError as error:
        raise Refused(str(error)) from None
    fn = load(args.function)
    try:
        with dropin.installed() if args.install else contextlib.nullcontext():
            report = targets.compile_for(fn, *shapes, device=args.device)
    except Exception as error:
        given = ", ".join(map(_written, shapes))
        raise Refused(
            f"{args.function}({given}) does not compile: {type(error).__name__}: {error}"
        ) from error
    print(report)
    if args.hlo:
        with _refusing():
            args.hlo.write_text(report.text)


def _written(shape: Any) -> str:
    return f"{shape.dtype}[{','.join(map(str, shape.shape))}]"


def load(path: str) -> Callable[..., Any]:
    """The function that `FILE.py:FUNCTION` names.

    Raises:
      Refused: if there is no such file or function, or the file fails to import.
    """
    name, _, function = path.rpartition(":")
    file = Path(name)
    if not name or not function:
        raise Refused(f"{path!r} names no function; write FILE.py:FUNCTION.")
    if not file.is_file():
        raise Refused(f"there is no file {name}.")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise Refused(f"{name} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent.resolve()))  # as `python FILE.py` would
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise Refused(f"{name} fails to import: {type(error).__name__}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        functions = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise Refused(f"{name} has no function {function}; it has {', '.join(functions) or 'none'}.")
    return found


if __name__ == "__main__":
    sys.exit(main())
