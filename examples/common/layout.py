"""Where arrays live: batches are split over all devices, the training state is on each or split likewise."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class Layout:
    """A line of devices, over which batches are split by their examples.

    Args:
        devices: those of all processes.
        fsdp: split parameters, their average and optimiser state too: each array along its longest axis that
            the number of devices divides. They are put together where the step uses them.
    """

    def __init__(self, devices: Sequence[Any], *, fsdp: bool = False):
        self.mesh = Mesh(np.array(devices), ("data",))
        self.fsdp = fsdp
        self.everywhere = NamedSharding(self.mesh, PartitionSpec())
        self.split = NamedSharding(self.mesh, PartitionSpec("data"))
        self.parts = NamedSharding(self.mesh, PartitionSpec(None, "data"))

    def state(self, tree: Any) -> Any:
        """The sharding of each array of a training state."""
        return jax.tree.map(lambda leaf: self._sharding(leaf.shape), tree)

    def _sharding(self, shape: tuple[int, ...]) -> NamedSharding:
        devices = self.mesh.size
        axes = [axis for axis, size in enumerate(shape) if size % devices == 0]
        if not self.fsdp or not axes:
            return self.everywhere
        longest = max(axes, key=lambda axis: shape[axis])
        return NamedSharding(self.mesh, PartitionSpec(*[None] * longest, "data"))

    def gathered(self, tree: Any) -> Any:
        """Inside a compiled step: the whole of each array on every device.

        Said outright, or the compiler might rather move the activations.
        """
        return jax.lax.with_sharding_constraint(tree, self.everywhere) if self.fsdp else tree

    def scattered(self, tree: Any) -> Any:
        """Inside a compiled step: each device's part of the arrays of a training state."""
        return jax.lax.with_sharding_constraint(tree, self.state(tree)) if self.fsdp else tree

    def put(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """The global batch, of which this process has its shard."""
        return jax.tree.map(
            lambda local: jax.make_array_from_process_local_data(self.split, np.asarray(local)), batch
        )

    def on_one_device(self, tree: Any) -> Any:
        """Whole arrays on the first device of this process. All processes have to call it."""
        whole = jax.jit(lambda tree: tree, out_shardings=self.everywhere)(tree)
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), whole)
