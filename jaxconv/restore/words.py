"""PSFs, rules and methods as they are written on a command line."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax

from . import files, psf
from .proximal import fista
from .richardson_lucy import richardson_lucy
from .spectral import inverse, tikhonov, wiener
from .stopping import Discrepancy, RelativeChange, Rule, Whiteness
from .unsupervised import unsupervised_wiener


def _trajectory(seed: float, size: float = 31) -> jax.Array:
    return psf.trajectory(jax.random.key(_whole(seed, "SEED")), (_whole(size, "SIZE"),) * 2)


def _box(height: float, width: float | None = None) -> jax.Array:
    return psf.box((_whole(height, "HEIGHT"), _whole(height if width is None else width, "WIDTH")))


def _whole(value: float, name: str) -> int:
    if not float(value).is_integer():
        raise ValueError(f"{name}={value:g} must be a whole number.")
    return int(value)


_PSFS: Mapping[str, tuple[str, Callable[..., jax.Array]]] = MappingProxyType(
    {
        "gaussian": ("SIGMA", psf.gaussian),
        "disk": ("RADIUS", psf.disk),
        "box": ("HEIGHT[,WIDTH]", _box),
        "motion": ("LENGTH,DEGREES", psf.motion),
        "trajectory": ("SEED[,SIZE]", _trajectory),
        "airy": ("RADIUS", psf.airy),
    }
)
PSF_WORDS = ", ".join(f"{name}:{numbers}" for name, (numbers, _) in _PSFS.items())

METHODS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "wiener": wiener,
        "unsupervised_wiener": unsupervised_wiener,
        "tikhonov": tikhonov,
        "inverse": inverse,
        "richardson_lucy": richardson_lucy,
        "fista": fista,
    }
)

_RULES: Mapping[str, Callable[..., Rule]] = MappingProxyType(
    {"whiteness": Whiteness, "change": RelativeChange, "discrepancy": Discrepancy}
)

# Of the command line; each is a parameter of some method.
OPTIONS: Mapping[str, tuple[Callable[[str], Any], str]] = MappingProxyType(
    {
        "iterations": (int, "how many, or how many at most"),
        "noise": (float, "its standard deviation, where white is 1; estimated where it is left out"),
        "weight": (float, "of the regularisation; more is smoother"),
        "balance": (float, "of noise and scene; more is smoother"),
        "threshold": (float, "below which a frequency is given up, relative to the strongest"),
        "tv": (float, "strength of total variation, 0.002 to 0.05"),
        "boundary": (str, "what is outside of the frame"),
    }
)


def parse_psf(text: str) -> jax.Array:
    """A PSF from its name and numbers, or from the picture of a single point.

    Args:
      text: "motion:15,30", "gaussian:2", "disk:4", "box:5,7", "trajectory:0,31", "airy:3", or an image file.

    Returns:
      The PSF, centred, summing to one.

    Raises:
      ValueError: for a name that is neither, and numbers that do not fit.

    Example:
      >>> parse_psf("box:1,4").tolist()
      [[0.25, 0.25, 0.25, 0.25]]
    """
    name, _, rest = text.partition(":")
    if name not in _PSFS:
        if not Path(text).is_file():
            raise ValueError(f"psf {text!r} is neither a file nor one of {PSF_WORDS}.")
        pixels = files.read(Path(text)).pixels
        return psf.from_image(pixels if pixels.ndim == 2 else pixels.mean(-1))
    wanted, make = _PSFS[name]
    values = _numbers(rest, text)
    most, least = wanted.count(",") + 1, wanted.partition("[")[0].count(",") + 1
    if not least <= len(values) <= most:
        raise ValueError(f"psf {text!r} has {len(values)} numbers; write {name}:{wanted}.")
    return make(*values)


def parse_rule(text: str) -> Rule:
    """A rule that stops iterations: "whiteness", "change:1e-3", or "discrepancy:NOISE".

    Args:
      text: name and number.

    Returns:
      The rule.

    Raises:
      ValueError: for another name, or too many numbers.

    Example:
      >>> parse_rule("change:0.01")
      RelativeChange(tolerance=0.01)
    """
    name, _, rest = text.partition(":")
    values = _numbers(rest, text) if rest else []
    if name not in _RULES or len(values) > (name != "whiteness"):
        raise ValueError(f"stop {text!r} is no rule; write whiteness, change:TOLERANCE or discrepancy:NOISE.")
    return _RULES[name](*values)


def method_with(name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """A method by name, with options checked against its own.

    Args:
      name: of `METHODS`.
      options: those that were given, by the names of its parameters.

    Returns:
      A function of y and the PSF.

    Raises:
      ValueError: for an option that the method does not have.

    Example:
      >>> method_with("inverse", {"tv": 0.1})
      Traceback (most recent call last):
      ...
      ValueError: inverse has no option tv; of these it has threshold, boundary.
    """
    method = METHODS[name]
    known = inspect.signature(method).parameters
    if unknown := [option for option in options if option not in known]:
        has = ", ".join(option for option in (*OPTIONS, "stop", "accelerate") if option in known)
        raise ValueError(f"{name} has no option {unknown[0]}; of these it has {has}.")
    more = {"key": jax.random.key(0)} if "key" in known else {}
    return functools.partial(method, **options, **more)


def _numbers(text: str, whole: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{whole!r} has {text!r} where numbers belong, as in motion:15,30.") from None
