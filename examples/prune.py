"""The Fashion-MNIST network with ever fewer channels: `python -m examples.prune demo --checkpoint RUN`.

The trained network of `examples.fashion_mnist` loses a share of the channels of each layer, those whose loss
matters least to first order, and is trained a little further. What it knows before and after, and how long it
takes, is drawn against the share.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure

from jaxconv import prune

from .common.cli import run
from .common.figures import save
from .common.files import write_atomically
from .common.task import Shard
from .fashion_mnist import data as images
from .fashion_mnist.data import DataConfig, DataSet
from .fashion_mnist.evaluate import accuracy
from .fashion_mnist.model import ModelConfig, SmallCNN
from .fashion_mnist.trained import load

Result = dict[str, Any]
BATCH = 256  # images of a timed forward pass
TRAINED = 32  # and of a timed training step


def loss_of(model: Any, image: jax.Array, label: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
    """The mean cross-entropy of a batch."""
    return optax.softmax_cross_entropy_with_integer_labels(model(image, rngs=rngs), label).mean()


def trained(model: SmallCNN, data: DataSet, config: DataConfig, steps: int, rate: float) -> SmallCNN:
    """The model after some steps of Adam, whose rate falls to nothing; it is in evaluation mode again."""
    optimizer = nnx.Optimizer(model, optax.adam(optax.cosine_decay_schedule(rate, steps)), wrt=nnx.Param)
    batches = images.batches(data, config, seed=1, shard=Shard(0, 1))
    rngs = nnx.Rngs(dropout=0)

    @nnx.jit
    def step(model: SmallCNN, optimizer: Any, rngs: nnx.Rngs, image: jax.Array, label: jax.Array) -> None:
        optimizer.update(model, nnx.grad(loss_of)(model, image, label, rngs))

    model.train()
    for _, batch in zip(range(steps), batches, strict=False):
        step(model, optimizer, rngs, batch["image"], batch["label"])
    model.eval()
    return model


def gradients(model: SmallCNN, data: DataSet, count: int = 1000) -> Any:
    """Of the loss on the first training images."""
    part = data.training.part(slice(count))
    return jax.jit(jax.grad(loss_of))(model, images.to_input(part.images), part.labels.astype(np.int32))


def network(size: Sequence[int], classes: int, features: Sequence[int], hidden: int) -> SmallCNN:
    """The shapes of a network."""
    first, second = features
    height, width = size
    config = ModelConfig(features=(first, second), hidden=hidden)
    model = nnx.eval_shape(lambda: SmallCNN(config, (height, width), classes, rngs=nnx.Rngs(0)))
    model.eval()
    return model


def prepare(checkpoint: Path | None, data: Path | None, steps: int) -> tuple[SmallCNN, DataSet, DataConfig]:
    """A trained network in evaluation mode, and its data set."""
    if checkpoint is not None:
        found = load(checkpoint)
        found.model.eval()
        config = DataConfig(data=data or found.data.data)
        return found.model, found.load_images(data), config
    config = DataConfig(data=data)
    loaded = images.load(config)
    model = SmallCNN(ModelConfig(), loaded.size, len(loaded.classes), rngs=nnx.Rngs(0))
    return trained(model, loaded, config, steps, 2e-3), loaded, config


def demo(
    *,
    checkpoint: Path | None = None,
    data: Path | None = None,
    out: Path = Path("runs/prune"),
    ratios: tuple[float, ...] = (0.3, 0.5, 0.75, 0.9),
    steps: int = 600,
    repeats: int = 5,
) -> None:
    """Prune a trained network, train it further, and draw what it costs and brings.

    Args:
        checkpoint: A run of examples.fashion_mnist. Without it: a network is trained for 3 times --steps.
        data: Folder of its data set, as for examples.fashion_mnist.
        out: Folder for the networks, results.json and prune.png.
        ratios: Shares of the channels of each layer that go.
        steps: Of training after each pruning.
        repeats: Of each timed call; `times` measures them again.
    """
    model, loaded, config = prepare(checkpoint, data, 3 * steps)
    x = jnp.asarray(images.to_input(loaded.test.images[:BATCH]))
    slopes, whole = gradients(model, loaded), accuracy(model, loaded.test)
    results: list[Result] = [{"ratio": 0.0, "pruned": whole, "tuned": whole}]
    for ratio in (0.0, *ratios):
        small = prune.prune(model, x, ratio=ratio, importance="taylor", gradients=slopes)
        if ratio:
            pruned = accuracy(small.model, loaded.test)
            small = small.with_params(trained(small.model, loaded, config, steps, 1e-3))
            results.append({"ratio": ratio, "pruned": pruned, "tuned": accuracy(small.model, loaded.test)})
        small.save(out / f"{ratio:g}")
        report = small.report(x)
        results[-1] |= {
            "layers": {name: sizes["out"][1] for name, sizes in small.config["layers"].items()},
            "parameters": report.parameters[1],
            "multiply_adds": report.multiply_adds[1],
        }
        print(f"{ratio:g} of the channels gone: {100 * results[-1]['pruned']:.2f} % right, trained further "
              f"{100 * results[-1]['tuned']:.2f} %\n{report}\n")  # fmt: skip
    kind = {"name": loaded.name, "size": loaded.size, "classes": len(loaded.classes), "steps": steps}
    write(out, {**kind, "results": results})
    times(out, repeats=repeats)


def write(out: Path, found: dict[str, Any]) -> None:
    """The results of a folder."""
    write_atomically(out / "results.json", json.dumps(found, indent=1) + "\n")


def times(out: Path, *, repeats: int = 30) -> None:
    """Measure the networks of a finished demo again, taking turns, and draw the picture anew.

    Args:
        out: The demo's folder.
        repeats: Of each timed call.
    """
    found = json.loads((out / "results.json").read_text())
    height, width = found["size"]
    shape = network(found["size"], found["classes"], *_widths(found["results"][0]["layers"]))
    x = np.random.default_rng(0).random((BATCH, height, width, 1), np.float32)
    label = np.arange(TRAINED, dtype=np.int32) % found["classes"]
    folders = [out / f"{result['ratio']:g}" for result in found["results"]]
    models = [prune.load(folder, shape, x).model for folder in folders]
    forward = jax.jit(lambda model, image: model(image))
    step = jax.jit(jax.grad(loss_of))
    for name, call in (
        ("forward_ms", lambda model: forward(model, x)),
        ("step_ms", lambda model: step(model, x[:TRAINED], label)),
    ):
        for result, taken in zip(found["results"], turns(call, models, repeats), strict=True):
            result[name] = taken
    write(out, found)
    draw(out / "prune.png", found)
    for r in found["results"]:
        print(f"{r['ratio']:g}: forward {r['forward_ms']:.2f} ms, training step {r['step_ms']:.2f} ms")
    print(out / "prune.png")


def _widths(layers: dict[str, int]) -> tuple[tuple[int, int], int]:
    return (layers["first/conv"], layers["second/conv"]), layers["hidden"]


def turns(call: Callable[[Any], Any], models: Sequence[Any], repeats: int) -> list[float]:
    """The median milliseconds of a call of each model, one after the other, again and again."""
    for model in models:
        jax.block_until_ready(call(model))
    taken: list[list[float]] = [[] for _ in models]
    for _ in range(repeats):
        for model, own in zip(models, taken, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(call(model))
            own.append(1e3 * (time.perf_counter() - start))
    return [float(np.median(own)) for own in taken]


def draw(path: Path, found: dict[str, Any]) -> None:
    """Accuracy, cost, and the channels of each layer against the ratio."""
    results: list[Result] = found["results"]
    ratios = [r["ratio"] for r in results]
    figure = Figure(figsize=(15, 4.6), layout="constrained", facecolor="white")
    right, cost, width = figure.subplots(1, 3)
    right.plot(
        ratios, [100 * r["tuned"] for r in results], "o-", label=f"after {found['steps']} steps of training"
    )
    right.plot(
        ratios, [100 * r["pruned"] for r in results], "o--", color="tab:red", label="right after pruning"
    )
    right.set(ylabel="test images that are right, %", title=found["name"], ylim=(0, 100))
    for key, label in (
        ("multiply_adds", "multiply-adds"), ("parameters", "parameters"),
        ("forward_ms", f"forward pass of {BATCH}"), ("step_ms", f"training step of {TRAINED}"),
    ):  # fmt: skip
        style = "o-" if key.endswith("ms") else ".:"
        cost.plot(ratios, [100 * r[key] / results[0][key] for r in results], style, label=label)
    first = f"forward {results[0]['forward_ms']:.1f} ms, step {results[0]['step_ms']:.1f} ms"
    cost.set(ylabel="of the original, %", title=f"original: {first}", ylim=(0, 110))
    names = list(results[0]["layers"])
    for i, r in enumerate(results):
        left = np.arange(len(names)) + 0.8 * (i / len(results) - 0.4)
        bars = width.bar(left, r["layers"].values(), 0.75 / len(results), label=f"{r['ratio']:g} gone")
        width.bar_label(bars, fontsize=8)
    width.set_xticks(range(len(names)), names)
    width.set(ylabel="channels kept", title="by layer", yscale="log")
    for axis in (right, cost):
        axis.set(xlabel="share of each layer's channels that is gone")
        axis.grid(alpha=0.3)
    for axis in (right, cost, width):
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    save(figure, path)


_COMMANDS: dict[str, Callable[..., None]] = {"demo": demo, "times": times}

if __name__ == "__main__":
    sys.exit(run(_COMMANDS, "python -m examples.prune"))
