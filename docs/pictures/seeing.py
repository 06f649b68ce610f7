"""docs/images/seeing_randomised.png, and the table of docs/seeing.md: shuffled weights.

    python -m docs.pictures.seeing runs/fashion_mnist

Layer by layer from the answer, each layer's weights are shuffled; what a method shows before and after is
compared by Spearman's rank correlation of magnitudes, as Adebayo et al. do, over 100 test
images and 3 shuffles.
"""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from examples.fashion_mnist import data as images
from examples.fashion_mnist.trained import load
from jaxconv.explain import see

LAYERS = ("logits", "hidden", "second/conv", "first/conv")  # from the answer to the image
IMAGES, SHUFFLES, SHOWN = 100, 3, 0


def shuffled(model: nnx.Module, layers: tuple[str, ...], seed: int) -> nnx.Module:
    """A copy, with the weights of some layers in any order."""
    rng, model = np.random.default_rng(seed), nnx.clone(model)
    for layer in layers:
        part: Any = model
        for name in layer.split("/"):
            part = getattr(part, name)
        for weights in (part.kernel, part.bias):
            weights[...] = jnp.asarray(rng.permutation(weights[...].ravel()).reshape(weights.shape))
    return model


@jax.jit
def pictures(model: nnx.Module, x: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    """Of each image, by method."""

    def target(y: jax.Array) -> jax.Array:
        return jnp.take_along_axis(y, labels[:, None], 1).sum()

    found = {
        "gradient": see.gradient(model, x, target=target),
        "guided": see.guided_backprop(model, x, target=target),
        "deconvnet": see.deconvnet(model, x, target=target),
        "integrated": see.integrated_gradients(model, x, target=target, steps=16).values,
    }
    cam = see.grad_cam(model, x, layer="second/conv+relu", target=target)
    return {**{name: values[..., 0] for name, values in found.items()}, "Grad-CAM": cam}


def likeness(before: np.ndarray, after: np.ndarray) -> float:
    """The rank correlation of magnitudes, on average."""
    pairs = [(np.abs(a).ravel(), np.abs(b).ravel()) for a, b in zip(before, after, strict=True)]
    return float(np.mean([float(spearmanr(a, b)[0]) for a, b in pairs if np.ptp(a) and np.ptp(b)]))


def main(run: Path) -> None:
    """Prints the table and draws the picture."""
    trained = load(run)
    test = trained.load_images(None).test
    x = jnp.asarray(images.to_input(test.images[:IMAGES]))
    labels = jnp.asarray(test.labels[:IMAGES].astype(np.int32))
    shown = [{name: np.asarray(p) for name, p in pictures(trained.model, x, labels).items()}]
    for count in range(1, len(LAYERS) + 1):
        found = [
            {name: np.asarray(p) for name, p in pictures(model, x, labels).items()}
            for model in (shuffled(trained.model, LAYERS[:count], seed) for seed in range(SHUFFLES))
        ]
        shown.append(found[0])
        rows = {name: np.mean([likeness(p, other[name]) for other in found]) for name, p in shown[0].items()}
        print(LAYERS[count - 1], {name: round(float(value), 2) for name, value in rows.items()})
    draw(shown, Path(__file__).parents[1] / "images" / "seeing_randomised.png")


def draw(shown: list[dict[str, np.ndarray]], path: Path) -> None:
    """One image, by method and by what is shuffled."""
    columns = ["trained", "answer shuffled", "and dense", "and second conv", "all"]
    figure = Figure(
        figsize=(1.5 * len(columns), 1.5 * len(shown[0]) + 0.2), layout="constrained", facecolor="white"
    )
    axes = figure.subplots(len(shown[0]), len(columns))
    for row, name in enumerate(shown[0]):
        for column, found in enumerate(shown):
            picture, axis = found[name][SHOWN], axes[row, column]
            most = float(np.percentile(np.abs(picture), 99.5)) or 1.0
            colours = ("magma", 0) if name == "Grad-CAM" else ("RdBu_r", -most)
            axis.imshow(picture, cmap=colours[0], vmin=colours[1], vmax=most, interpolation="nearest")
            axis.set(xticks=[], yticks=[], ylabel=name if column == 0 else "")
            axis.set_title(columns[column] if row == 0 else "", fontsize=9)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
