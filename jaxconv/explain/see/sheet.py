"""A sheet of pictures: what a network makes of one image, by every method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import draw
from .cam import grad_cam
from .gradients import deconvnet, gradient, guided_backprop, integrated_gradients
from .layers import activations, first_kernels
from .maximise import maximise
from .patches import Patch, top_patches
from .score import Target

_MOST_MAPS, _FILTERS, _PATCHES = 16, 8, 9
_MAXIMISED = 96  # pixels of an image whose middle one is maximised


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network and an image, ready to be looked at: what a function that `jaxconv see` calls returns.

    Attributes:
      fn: from images `(1, height, width, channels)` to `(1, classes)`, or `(1, height, width, classes)`.
      x: the image, as `fn` takes it.
      layers: whose maps are shown, in order; names of `layer_names`, of layers with spatial axes.
      cam: the layer of Grad-CAM; by default the last of `layers`.
      classes: their names; by default numbers.
      target: number of the class that is asked about; by default the answer, of a map the one that most
        pixels get.
      data: images `(n, height, width, channels)` among which patches are looked for, or None.
      patches: the layer whose filters these are; by default the last of `layers`.
      values: the least and the largest of an image's values.
    """

    fn: Callable[[jax.Array], jax.Array]
    x: jax.Array
    layers: Sequence[str]
    cam: str | None = None
    classes: Sequence[str] = ()
    target: int | None = None
    data: np.ndarray | None = None
    patches: str | None = None
    values: tuple[float, float] = (0.0, 1.0)


def sheet(subject: Subject, path: str | Path, *, target: int | None = None, steps: int = 64) -> str:
    """Writes a PNG with everything in `jaxconv.explain.see`, of one class.

    The image and the answer; gradient, guided backpropagation, deconvnet, integrated gradients, Grad-CAM;
    the first layer's kernels; inputs that maximise each class; maps of layers; the patches of a data set that
    some filters answer to most. Where the result is a map, the score is the class's sum over the
    pixels that get it.

    Args:
      subject: network and image.
      path: the file to write.
      target: number of the class; by default the subject's.
      steps: of integrated gradients and of activation maximisation.

    Returns:
      What was asked about, in words.

    Raises:
      ValueError: if the subject's image, layers or classes do not fit its network.

    Example:
      >>> import tempfile
      >>> import jaxconv
      >>> w = {"conv": {"kernel": jnp.linspace(-1, 1, 36).reshape(3, 3, 1, 4)}}
      >>> fn = lambda x: jax.nn.relu(jaxconv.conv(x, w["conv"]["kernel"], padding=1)).mean((1, 2))
      >>> subject = Subject(fn, jnp.linspace(0, 1, 48).reshape(1, 6, 8, 1), ["w/conv"])
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     sheet(subject, Path(folder) / "a.png", target=2, steps=1)
      'class 2'
    """
    x = jnp.asarray(subject.x)
    if x.ndim != 4 or x.shape[0] != 1 or x.shape[-1] not in (1, 3):
        raise ValueError(f"x of shape {x.shape} must be one image, (1, height, width, 1 or 3).")
    if not subject.layers:
        raise ValueError("layers are missing; name some of layer_names(fn, x).")
    y = np.asarray(jax.jit(subject.fn)(x))
    chosen = target if target is not None else subject.target
    chosen = int(_winner(y)) if chosen is None else chosen
    if not 0 <= chosen < y.shape[-1]:
        raise ValueError(f"target={chosen} is no class; the result has {y.shape[-1]}.")
    names = [*subject.classes] or [f"class {i}" for i in range(y.shape[-1])]
    if len(names) != y.shape[-1]:
        raise ValueError(f"classes has {len(names)} names for {y.shape[-1]} classes.")
    asked = _score(y, chosen)
    pictures = draw.Pictures(
        image=np.asarray(x[0]),
        answer=y[0],
        target=chosen,
        classes=names,
        values=subject.values,
        attributions=_attributions(subject, x, asked, steps),
        cam=(subject.cam or subject.layers[-1], _cam(subject, x, asked)),
        kernels=np.asarray(first_kernels(subject.fn, x)),
        maximised=_maximised(subject, x, y, steps),
        maps=[(layer, _maps(subject.fn, x, layer)) for layer in subject.layers],
        patches=_patches(subject),
    )
    draw.sheet(pictures, Path(path))
    share = f", {100 * (y[0].argmax(-1) == chosen).mean():.1f} % of the pixels" if y.ndim == 4 else ""
    return f"{names[chosen]}{share}"


def _winner(y: np.ndarray) -> int:
    return int(np.bincount(y.argmax(-1).ravel(), minlength=y.shape[-1]).argmax())


def _score(y: np.ndarray, chosen: int) -> Target:
    if y.ndim == 2:
        return chosen
    won = jnp.asarray(y.argmax(-1) == chosen)
    won = won if won.any() else jnp.ones_like(won)
    return lambda y: (y[..., chosen] * won).sum()


def _attributions(subject: Subject, x: jax.Array, asked: Target, steps: int) -> dict[str, np.ndarray]:
    methods: dict[str, Callable[[jax.Array], jax.Array]] = {
        "gradient": lambda x: gradient(subject.fn, x, target=asked),
        "guided backpropagation": lambda x: guided_backprop(subject.fn, x, target=asked),
        "deconvnet": lambda x: deconvnet(subject.fn, x, target=asked),
        "integrated gradients": lambda x: (
            integrated_gradients(subject.fn, x, target=asked, baseline=subject.values[0], steps=steps).values
        ),
    }
    found = jax.jit(lambda x: [method(x) for method in methods.values()])(x)
    return {name: np.asarray(values[0]).sum(-1) for name, values in zip(methods, found, strict=True)}


def _cam(subject: Subject, x: jax.Array, asked: Target) -> np.ndarray:
    layer = subject.cam or subject.layers[-1]
    return np.asarray(jax.jit(lambda x: grad_cam(subject.fn, x, layer=layer, target=asked))(x)[0])


def _maps(fn: Callable[..., Any], x: jax.Array, layer: str) -> np.ndarray:
    """The strongest, rectified; in the network's order."""
    maps = np.maximum(np.asarray(activations(fn, x, layer=layer)[0]), 0)
    if maps.ndim != 3:
        raise ValueError(f"layer={layer!r} has no maps; name layers with two spatial axes.")
    strongest = np.sort(np.argsort(-maps.max((0, 1)), kind="stable")[:_MOST_MAPS])
    return maps[..., strongest]


def _maximised(subject: Subject, x: jax.Array, y: np.ndarray, steps: int) -> list[np.ndarray]:
    """For each class; of a map at its middle. All in one program."""
    low, high = subject.values
    x = x if y.ndim == 2 else x[:, :_MAXIMISED, :_MAXIMISED]
    grey = jnp.full_like(x, (low + high) / 2)
    middle = tuple(n // 2 for n in x.shape[1:-1]) if y.ndim == 4 else ()

    def one(c: jax.Array) -> jax.Array:
        return maximise(
            subject.fn,
            grey,
            target=lambda y: y[(0, *middle, c)],
            steps=steps,
            rate=0.05 * (high - low),
            noise=0.05 * (high - low),
            bounds=subject.values,
        )

    return [*np.asarray(jax.jit(lambda cs: jax.lax.map(one, cs))(jnp.arange(min(y.shape[-1], 10))))[:, 0]]


def _patches(subject: Subject) -> tuple[str, list[list[Patch]]] | None:
    if subject.data is None:
        return None
    layer = subject.patches or subject.layers[-1]
    channels = activations(subject.fn, jnp.asarray(subject.x), layer=layer).shape[-1]
    some = np.unique(np.linspace(0, channels - 1, _FILTERS).astype(int)).tolist()
    return layer, top_patches(subject.fn, subject.data, layer=layer, k=_PATCHES, channels=some)
