"""The methods that benchmarks.restoration compares: functions from a case to the restored picture."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import numpy as np
import skimage.restoration

from jaxconv import restore

from .restoration_cases import Case

Method = Callable[[Case], np.ndarray]

# Of Richardson-Lucy, for both libraries: more noise allows for fewer.
ITERATIONS = MappingProxyType({0.01: 30, 0.03: 10, None: 30})
# scikit-image's balance is the best of these for scikit-image, of each case.
BALANCES = tuple(10 ** np.arange(-4.5, 0.01, 0.25))


def _each_channel(method: Callable[..., np.ndarray]) -> Method:
    """scikit-image restores one channel at a time."""

    def restored(case: Case) -> np.ndarray:
        if not case.colour:
            return method(case, case.y)
        return np.stack([method(case, case.y[..., c]) for c in range(case.y.shape[-1])], -1)

    return restored


def _skimage_wiener(weight: float) -> Method:
    return _each_channel(
        lambda case, y: np.asarray(skimage.restoration.wiener(y, case.psf, weight, clip=False))
    )


@functools.lru_cache(maxsize=1)  # asked for by three of METHODS, case after case
def best_balance(case: Case) -> float:
    """The one with which scikit-image's filter comes nearest to the truth."""

    def error(weight: float) -> float:
        return float(np.mean((np.clip(_skimage_wiener(weight)(case), 0, 1) - case.truth) ** 2))

    return min(BALANCES, key=error)


def _ours(method: Callable[..., restore.Restored], **options: object) -> Method:
    return lambda case: np.asarray(method(case.y, case.psf, **options).x)


def _lucy(**options: object) -> Method:
    def restored(case: Case) -> np.ndarray:
        given = {"iterations": ITERATIONS[case.noise], **options}
        return np.asarray(restore.richardson_lucy(case.y, case.psf, **given).x)

    return restored


def skimage_methods(case: Case) -> dict[str, Method]:
    """scikit-image's, without those that take no volumes."""
    methods = {
        "wiener": _skimage_wiener(best_balance(case)),
        "richardson_lucy": _each_channel(
            lambda case, y: skimage.restoration.richardson_lucy(
                y, case.psf, num_iter=ITERATIONS[case.noise], clip=False
            )
        ),
    }
    if case.psf.ndim == 2:
        methods["unsupervised_wiener"] = _each_channel(
            lambda case, y: np.asarray(
                skimage.restoration.unsupervised_wiener(y, case.psf, clip=False, rng=0)[0]
            )
        )
    return methods


def same_methods(case: Case) -> dict[str, Method]:
    """The same of jaxconv, with the same balance and iterations, and its own boundaries."""
    methods = {
        "wiener": _ours(restore.tikhonov, weight=best_balance(case)),
        "richardson_lucy": _lucy(),
    }
    if case.psf.ndim == 2:
        methods["unsupervised_wiener"] = _ours(restore.unsupervised_wiener, key=jax.random.key(0))
    return methods


def alike_methods(case: Case) -> dict[str, Method]:
    """The same of jaxconv with scikit-image's boundaries too: periodic, and dark."""
    return {
        "wiener": _ours(restore.tikhonov, weight=best_balance(case), boundary="circular"),
        "richardson_lucy": _lucy(boundary="zeros"),
    }


def more_methods(case: Case) -> dict[str, Method]:
    """What only jaxconv has."""
    iterations = ITERATIONS[case.noise]
    noise = case.noise or 0.004
    return {
        "wiener, spectrum of photographs": _ours(restore.wiener),
        "tikhonov, weight by GCV": _ours(restore.tikhonov),
        "richardson_lucy, accelerated, a third of the iterations": _lucy(
            iterations=iterations // 3, accelerate=True
        ),
        "richardson_lucy, stopped by whiteness": _lucy(iterations=100, stop=restore.Whiteness()),
        "richardson_lucy, total variation": _lucy(iterations=2 * iterations, tv=0.01),
        "fista, total variation": _ours(restore.fista, weight=0.15 * noise, iterations=60),
    }


METHODS: Mapping[str, Callable[[Case], dict[str, Method]]] = MappingProxyType(
    {"skimage": skimage_methods, "jaxconv": same_methods, "alike": alike_methods, "more": more_methods}
)
