"""Exchanges between devices: what each of them asked for arrives, and no more is sent than that takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxconv.partition.halo import Split, fetch, inside, moves, owned

N = 4
MESH = jax.make_mesh((N,), ("row",), axis_types=(AxisType.Auto,), devices=jax.devices()[:N])


def around(split: Split, lo: int, hi: int) -> np.ndarray:
    """What a circular halo asks for."""
    first = split.start + split.step * np.arange(N)[:, None] - lo
    return (first + np.arange(lo + split.length + hi)) % split.size


# What there is, what is asked for, and how many rows at most a device has to send for that.
EVEN, LAST_SHORT = Split(12, "row", N, 0, 3, 3), Split(10, "row", N, 0, 3, 3)
OVERLAP = Split(11, "row", N, -1, 3, 5)
CASES = {
    "halo": (EVEN, EVEN.over(-1, 6).table, 3),
    "one side": (EVEN, EVEN.over(0, 4).table, 1),
    "several hops": (EVEN, EVEN.over(-5, 9).table, 3 + 2 + 1),
    "larger than all": (EVEN, EVEN.over(-9, 21).table, 3 * 3),
    "last block short": (LAST_SHORT, LAST_SHORT.over(-2, 6).table, 3),
    "already there": (OVERLAP, OVERLAP.over(0, 4).table, 0),
    "around the ends": (EVEN, around(EVEN, 2, 1), 3),
    "around uneven ends": (LAST_SHORT, around(LAST_SHORT, 1, 2), 5),
    "shifted": (EVEN, np.where(EVEN.table < 7, EVEN.table + 5 * (EVEN.table >= 0), -1), 3),
    "other blocks": (EVEN, Split(12, "row", N, 0, 4, 4).table, 3),
    "mirrored": (EVEN, 11 - EVEN.table, 3),
    "nothing": (EVEN, np.full((N, 2), -1), 0),
}


def blocks(split: Split, x: np.ndarray) -> np.ndarray:
    """Devices behind each other; what means nothing is no number."""
    return np.where((split.table >= 0)[..., None], x[split.table], np.nan).reshape(-1, x.shape[1])


def test_what_was_asked_for_arrives(rng):
    whole = {name: rng.standard_normal((case[0].size, 2)) for name, case in CASES.items()}
    laid = {name: jnp.asarray(blocks(CASES[name][0], x)) for name, x in whole.items()}

    def run(given: dict) -> dict:
        return {name: fetch(x, 0, moves(*CASES[name][:2])) for name, x in given.items()}

    mapped = jax.shard_map(run, mesh=MESH, in_specs=P("row"), out_specs=P("row"))
    for name, got in jax.jit(mapped)(laid).items():
        wanted = CASES[name][1]
        got = np.asarray(got).reshape(*wanted.shape, 2)
        asked = wanted >= 0
        want = np.asarray(whole[name], np.float32)[wanted]
        np.testing.assert_array_equal(got[asked], want[asked], err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_no_more_is_sent_than_asked_for(name):
    source, wanted, most = CASES[name]
    found = moves(source, wanted)
    assert found.sent <= most
    received = np.zeros(N, int)
    for part in found.parts:
        for _, receiver in part.pairs:
            received[receiver] += len(part.rows)
    missing = [len(set(w[w >= 0]) - set(source.held(i))) for i, w in enumerate(wanted)]
    assert (received >= missing).all()
    if name in ("halo", "one side", "several hops", "larger than all", "already there", "around the ends"):
        assert received.tolist() == missing


def test_the_transpose_sends_back():
    """<fetch(x), g> = <x, fetch'(g)>, and a device that gives to two gets the sum from them."""
    source, wanted, _ = CASES["halo"]
    mapped = jax.shard_map(
        lambda x: fetch(x, 0, moves(source, wanted)), mesh=MESH, in_specs=P("row"), out_specs=P("row")
    )
    g = np.arange(1.0, 1 + wanted.size, dtype=np.float32)
    back = jax.jit(lambda g: jax.vjp(mapped, jnp.zeros(12))[1](g)[0])(g)
    want = np.zeros(12)
    np.add.at(want, wanted[wanted >= 0], g.reshape(wanted.shape)[wanted >= 0])
    np.testing.assert_array_equal(np.asarray(back), want)


def test_each_position_has_one_owner():
    def run() -> jax.Array:
        marks = [owned(OVERLAP, 1, 2), inside(OVERLAP, 1, 2)]
        return jnp.concatenate([jnp.asarray(m, jnp.int32) for m in marks])[None]

    got = np.asarray(jax.jit(jax.shard_map(run, mesh=MESH, in_specs=(), out_specs=P("row")))())
    table = OVERLAP.table
    assert sorted(table[got[:, 0] == 1]) == list(range(11))
    np.testing.assert_array_equal(got[:, 1] == 1, table >= 0)


def test_a_split_covers_or_does_not():
    found = [(s.covers, s.exact) for s in (EVEN, EVEN.over(1, 3), EVEN.over(0, 2), LAST_SHORT)]
    assert found == [(True, True), (False, False), (False, True), (True, False)]
