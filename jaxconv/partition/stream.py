"""A function of a signal as a stream: chunks go in, and what can be known by then comes out."""

# Jaxprs are not fully typed.
# pyright: standard

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .stream_plan import Plan
from .stream_run import ENDLESS, Block, State, still
from .stream_source import Source


@jax.tree_util.register_pytree_node_class
class Stream:
    """See `streaming`, which makes it.

    A pytree whose leaves are the arrays that the function has besides the signal: `jax.grad` by a stream is
    the gradient by its parameters.

    Attributes:
      axis: the dimension of the signal along time.
      out_axis: that of the result.
      rate: results for each sample.
      period: after how many samples all is at the same phase again.
      block: the most samples that `feed` hands over at a time.
    """

    def __init__(self, source: Source, plan: Plan, weights: Sequence[Any], block: int) -> None:
        self._source, self._plan, self._weights, self.block = source, plan, tuple(weights), block
        self.axis, self.out_axis, self.period = plan.signal.dim, plan.out.dim, plan.samples
        self.rate = Fraction(plan.out.known.gain, plan.samples)

    @property
    def latency(self) -> Fraction:
        """Samples that a result waits for beyond its place: o goes out with sample o / rate + latency.

        The least with which each result is known; what comes earlier in a period waits less.
        """
        known = self._plan.out.known
        before, after = known.at, known.after(1)
        waits = zip(range(self.period), before.tolist(), after.tolist(), strict=True)
        return max(n - o / self.rate for n, o, end in waits if end > o)

    def ready(self, samples: int) -> int:
        """How many results have gone out after so many samples, if the signal has not ended."""
        known = self._plan.out.known
        return max(0, known.value(samples)) if samples > 0 else 0

    def init(self) -> State:
        """The state before the first sample: a pytree of arrays."""
        plan = self._plan
        ahead = plan.samples * max(-(-int(line.known.at[0]) // line.known.gain) for line in plan.computed)
        state = _blank(plan, self._weights, ahead)
        for start in range(0, ahead, self.block):
            state, *_ = self._run(state, self._silence(self.block), min(self.block, ahead - start))
        return state

    def step(self, state: State, chunk: Any, count: Any = None) -> tuple[State, jax.Array, jax.Array]:
        """One chunk; a function for jit, vmap, scan and grad.

        Args:
          state: of `init` or the step before.
          chunk: samples, as the signal but for their number, which decides the shape of the result.
          count: how many of them count, the first ones; by default all.

        Returns:
          The next state; results; how many of these count, the first ones. What stands behind them is
          arbitrary.

        Raises:
          ValueError: if the chunk is not as the signal.
        """
        size = self._checked(chunk).shape[self.axis]
        if isinstance(count, int) and not 0 <= count <= size:
            raise ValueError(f"count={count} must be 0 to {size}, the samples of the chunk.")
        return self._run(state, chunk, size if count is None else count, wrap=True)

    def _run(
        self, state: State, chunk: Any, count: Any, ends: Any = None, *, wrap: bool = False
    ) -> tuple[State, jax.Array, jax.Array]:
        ends = np.full(len(self._plan.all), ENDLESS, np.int32) if ends is None else ends
        return _run(self._plan, self._weights, state, chunk, jnp.asarray(count, jnp.int32), ends, wrap)

    def flush(self, state: State) -> tuple[jax.Array, jax.Array]:
        """What is still to come when the signal has ended, and how much of it counts.

        Under jit and vmap the number of samples is not known. Then the count is -1 for a signal that is
        shorter than the one the stream was made with and than its receptive field.

        Raises:
          ValueError: if the function pads otherwise at this length than the stream has, so that there is no
            result to be equal to; under jit, if it does so for any length.
        """
        ends, rest = self._ends(state["samples"])
        _, y, count = self._run(state, self._silence(rest), rest, ends)
        if isinstance(count, Tracer):
            least = min(self._plan.settled, self._plan.signal.sizes[0])
            count = jnp.where(state["samples"] < least, -1, count)
        return y, count

    def _ends(self, n: Any) -> tuple[Any, int]:
        """How many positions all arrays have if the signal has ended, and how many samples to go on for."""
        plan, traced = self._plan, isinstance(n, Tracer)
        if traced and self.period > _MOST_KINDS:
            raise ValueError(
                f"flush under jit looks at all of period={self.period} lengths; call it outside."
            )
        if not traced:
            self._source.check(plan, int(n))
        phases = range(self.period) if traced else [int(n) % self.period]
        tables = np.stack([self._source.ends(plan, phase) for phase in phases])
        gains = np.array([line.known.gain for line in plan.all], np.int32)
        ends = jnp.asarray(tables, jnp.int32)[n % self.period if traced else 0] + n // self.period * gains
        return ends, max(_tail(plan, phase, table) for phase, table in zip(phases, tables, strict=True))

    def feed(self, state: State, chunk: Any) -> tuple[State, jax.Array]:
        """One chunk of any size, and all results that it brings; one compiled program for all sizes."""
        chunk, found = np.asarray(self._checked(chunk)), []
        for start in range(0, max(chunk.shape[self.axis], 1), self.block):
            part = chunk[(slice(None),) * self.axis + (slice(start, start + self.block),)]
            count = part.shape[self.axis]
            room = [(0, self.block - count if d == self.axis else 0) for d in range(part.ndim)]
            state, y, ready = self._run(state, jnp.asarray(np.pad(part, room)), count, wrap=True)
            found.append(self._first(y, ready))
        return state, jnp.concatenate(found, self.out_axis)

    def finish(self, state: State) -> jax.Array:
        """The results that are still to come when the signal has ended; runs the program of `feed`."""
        (ends, rest), found = self._ends(state["samples"]), []
        for start in range(0, rest, self.block):
            count = min(self.block, rest - start)
            state, y, ready = self._run(state, self._silence(self.block), count, ends)
            found.append(self._first(y, ready))
        return jnp.concatenate(found, self.out_axis)

    def __call__(self, chunks: Iterable[Any]) -> Iterator[jax.Array]:
        """The results of chunk after chunk, and those after the last one."""
        state = self.init()
        for chunk in chunks:
            state, y = self.feed(state, chunk)
            yield y
        yield self.finish(state)

    def __str__(self) -> str:
        """The numbers, and what is kept."""
        kept = self._kept()
        lines = [
            f"{self.rate} results for each sample, latency {self.latency}, period {self.period}",
            f"state: {sum(size for _, size in kept)} bytes",
        ]
        return "\n".join([*lines, *(f"  {line} {size} bytes" for line, size in kept)])

    def _kept(self) -> list[tuple[str, int]]:
        found = []
        for line in self._plan.past:
            node = line.value.node
            where = "signal" if node is None else node.layer or node.source or node.name
            size = line.value.bytes // line.value.shape[line.dim] * line.keep
            found.append((f"{where}: {line.keep} positions,", size))
        return found

    def _checked(self, chunk: Any) -> Any:
        shape, dtype = self._source.shape, self._source.dtype
        given = np.shape(chunk)
        same = len(given) == len(shape) and all(
            n == m for d, (n, m) in enumerate(zip(given, shape, strict=True)) if d != self.axis
        )
        if not same or jnp.result_type(chunk) != dtype:
            wanted = ", ".join("any" if d == self.axis else str(n) for d, n in enumerate(shape))
            raise ValueError(
                f"a chunk has shape {given} and dtype {jnp.result_type(chunk)}; wanted ({wanted}) and "
                f"{dtype}. For several signals at positions of their own use jax.vmap."
            )
        return chunk

    def _silence(self, samples: int) -> jax.Array:
        shape = [samples if d == self.axis else n for d, n in enumerate(self._source.shape)]
        return jnp.zeros(shape, self._source.dtype)

    def _first(self, y: jax.Array, count: Any) -> jax.Array:
        return y[(slice(None),) * self.out_axis + (slice(int(count)),)]

    def tree_flatten(self) -> tuple[Any, Any]:
        """For JAX."""
        return (self._weights,), (self._source, self._plan, self.block)

    @classmethod
    def tree_unflatten(cls, fixed: Any, children: Any) -> Stream:
        """For JAX."""
        source, plan, block = fixed
        return cls(source, plan, children[0], block)


_MOST_KINDS = 64  # lengths that a flush under jit looks at, each of them traced


def streaming(
    fn: Callable[..., Any],
    *args: Any,
    axis: int = 1,
    wrt: int | None = None,
    block: int | None = None,
    **kwargs: Any,
) -> Stream:
    """Makes a stream of a function of a signal: chunk by chunk it gives what the function gives of the whole.

    Everything is read off the function's jaxpr for two lengths: which past positions each layer has to keep,
    what is known when, what stands before the first sample and behind the last. Nothing is computed twice.
    What can't be known from the past and a bounded future is refused, with the layer's name.

    Args:
      fn: any function of arrays with one array as result, or a callable pytree: a module of NNX or Equinox,
        `lambda x: model.apply(variables, x)` for Linen. It has to take signals of other lengths, too.
      *args: its arguments; of the signal only shape and dtype count, `jax.ShapeDtypeStruct` will do. Lengths
        to come may differ from the given one by multiples of `stream.period`, and by anything else if `fn`
        pads alike for them; `flush` checks that.
      axis: the dimension of the signal along time.
      wrt: the position of the argument that is the signal; by default the first that is one array of two or
        more dimensions.
      block: the most samples that `Stream.feed` hands over at a time; by default as many as the signal given.
      **kwargs: the function's keyword arguments.

    Returns:
      A `Stream`: `init`, `step`, `flush` are functions for jit, vmap, scan and grad; `feed`, `finish` and
      the stream itself, called with chunks, give exactly the results there are.

    Raises:
      ValueError: if something is not local in time, or the function does not take other lengths.

    References:
      Rybakov et al., Streaming keyword spotting on mobile devices, 2020, arXiv:2005.06720.

    Example:
      >>> import jaxconv
      >>> kernel = jnp.ones((3, 1, 1))
      >>> f = lambda x: jaxconv.conv(jaxconv.conv(x, kernel, padding=1), kernel, stride=2, padding=1)
      >>> stream = streaming(f, jax.ShapeDtypeStruct((1, 8, 1), "float32"))
      >>> print(stream.rate, stream.latency, stream.ready(2), stream.ready(3))
      1/2 2 0 1
      >>> x = np.arange(8, dtype=np.float32).reshape(1, 8, 1)
      >>> [y.ravel().tolist() for y in stream([x[:, :3], x[:, 3:]])], f(x).ravel().tolist()
      ([[4.0], [18.0, 36.0], [46.0]], [4.0, 18.0, 36.0, 46.0])
    """
    source = Source(fn, args, kwargs, wrt, axis)
    plan = source.plan()
    if block is not None and block < 1:
        raise ValueError(f"block={block} must be at least 1 sample.")
    return Stream(source, plan, source.weights(plan), source.length if block is None else block)


@functools.partial(jax.jit, static_argnums=0)
def _run(plan: Plan, weights: Any, state: State, chunk: Any, count: Any, ends: Any, wrap: Any) -> Any:
    given = [v for v in plan.graph.inputs if v is not plan.signal.value]
    state, y, ready = Block(plan, dict(zip(given, weights, strict=True)), state, chunk, count, ends).run()
    # All that counts of a long past is the phase, so numbers stay small however long the signal is.
    n = state["samples"]
    late = jnp.maximum(n - plan.settled, 0) // plan.samples * plan.samples
    return {**state, "samples": jnp.where(wrap, n - late, n)}, y, ready


def _tail(plan: Plan, phase: int, ends: np.ndarray) -> int:
    """Samples after the last one until all results are known, one at least."""
    end, known = ends[plan.all.index(plan.out)], plan.out.known
    samples = max(1, (end - int(known.at[phase])) * plan.samples // known.gain - plan.samples)
    while int(known.after(samples)[phase]) < end:
        samples += 1
    return samples


def _blank(plan: Plan, weights: Any, ahead: int) -> State:
    """The state so many samples before the first one."""
    past = []
    for line in plan.past:
        shape = [line.keep if d == line.dim else n for d, n in enumerate(line.value.shape)]
        past.append(jnp.full(shape, line.initial, line.value.dtype))
    values = dict(zip([v for v in plan.graph.inputs if v is not plan.signal.value], weights, strict=True))
    carry = []
    for op in plan.ops:
        if op.kind == "scan":
            parts = op.node.parts
            assert parts is not None
            first = op.node.operands[parts.constant : parts.constant + parts.carried]
            carry.append([jnp.asarray(still(v, values)) for v in first])
    return {"samples": jnp.asarray(-ahead, jnp.int32), "past": past, "carry": carry}
