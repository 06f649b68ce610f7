"""Tuning tables as values: keys, lookup, merging, files."""

import dataclasses
import itertools
import json

import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from jaxconv.geometry import Axis, ConvSpec
from jaxconv.lowerings import KINDS, Target, core_spec
from jaxconv.planner import Key, Table
from tests.tables import KEY, SPEC, table
from tests.windows import axes

CPU = Target("cpu", jnp.dtype(jnp.float32))

specs = st.builds(
    lambda batch, groups, i, o, axes: ConvSpec(batch, groups * i, groups * o, groups, tuple(axes)),
    *[st.integers(1, 12)] * 4,
    st.lists(axes, min_size=1, max_size=3),
)
precisions = st.sampled_from([*lax.Precision, *lax.DotAlgorithmPreset, None])
keys = st.builds(
    Key.of,
    st.sampled_from([*KINDS]),
    specs,
    st.sampled_from(["float32", "bfloat16", "int8", "complex64", "float8_e4m3fn"]),
    precisions | st.tuples(precisions, precisions),
).filter(lambda key: key is not None)


@given(keys)
def test_a_key_survives_its_spelling(key):
    assert Key.parse(str(key)) == key
    assert str(Key.parse(str(key))) == str(key)


@given(keys, keys)
def test_keys_are_spelled_alike_only_if_equal(a, b):
    assert (str(a) == str(b)) == (a == b)


def test_each_field_is_in_the_spelling():
    base = ConvSpec(4, 4, 4, 2, (Axis(20, 5, 2, 2, 1, 2), Axis(20, 5, 2, 2, 1, 2)))
    changed = [
        dataclasses.replace(base, **c) for c in ({"batch": 3}, {"in_channels": 6}, {"out_channels": 6})
    ]
    changed += [dataclasses.replace(base, groups=4), dataclasses.replace(base, axes=base.axes[:1])]
    for field, i in itertools.product(("size", "kernel", "stride", "dilation", "lo", "hi"), (0, 1)):
        axis = dataclasses.replace(base.axes[i], **{field: getattr(base.axes[i], field) + 2})
        changed.append(dataclasses.replace(base, axes=(*base.axes[:i], axis, *base.axes[i + 1 :])))
    made = [Key.of("forward", spec, "float32", None) for spec in (base, *changed)]
    made += [Key.of(slot, base, "float32", None) for slot in ("input_grad", "weight_grad")]
    made += [Key.of("forward", base, dtype, None) for dtype in ("bfloat16", "float16", "int32")]
    high, highest = lax.Precision.HIGH, lax.Precision.HIGHEST
    choices = (high, highest, (high, highest), (highest, high), lax.DotAlgorithmPreset.DEFAULT)
    made += [Key.of("forward", base, "float32", precision) for precision in choices]
    assert len({str(key) for key in made}) == len(made) == 28
    assert all(key is not None and Key.parse(str(key)) == key for key in made)


@given(specs)
def test_a_convolution_and_its_touching_part_have_one_key(spec):
    found = core_spec(spec)
    key = Key.of("forward", spec, "float32", None)
    assert (key is None) == (found is None)
    if found is not None:
        assert key == Key.of("forward", found[0], "float32", lax.Precision.DEFAULT)
        assert key is not None
        assert key.spec == found[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        KEY + " ",
        KEY.replace("forward", "backward"),
        KEY.replace("float32", "float31"),
        KEY.replace("default", "best"),
        KEY.replace("default", "high,high,high"),
        KEY.replace("g1", "g3"),
        KEY.replace("n2", "n02"),
        KEY.replace("7k3", "2k3"),  # nothing fits
        KEY.replace("7k3s1d1p0,0", "7k3s1d1p9,9"),  # outputs that see padding only
        KEY.replace(" 7k3s1d1p0,0 6k3s1d1p1,1", ""),
    ],
)
def test_what_is_no_key(text):
    with pytest.raises(ValueError, match="is no key of a convolution"):
        Key.parse(text)
    with pytest.raises(ValueError, match="is no key of a convolution"):
        table({"direct": 1.0}, key=text)


# The table as a value


def test_a_table_is_a_value():
    one, same, other = (table({"direct": t}) for t in (1.0, 1.0, 2.0))
    assert one == same != other
    assert hash(one) == hash(same)
    assert one != table({"direct": 1.0}, platform="cuda")
    one.seconds[KEY]["direct"] = 5.0
    assert one.lookup("forward", SPEC, CPU) == {"direct": 1.0}
    assert (len(one), len(table())) == (1, 0)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "1", None, True])
def test_times_are_positive_numbers(value):
    with pytest.raises(ValueError, match="wanted a positive number of seconds"):
        table({"direct": value})


def test_a_platform_has_one_name():
    with pytest.raises(ValueError, match="platform='gpu' is not known; use one of cpu, cuda"):
        table(platform="gpu")


def test_it_reads():
    text = str(table({"direct": 2.5, "im2col": 0.0012, "winograd": 3e-6}, "cuda", "NVIDIA H100"))
    assert text.splitlines() == [
        "1 convolution measured on cuda (NVIDIA H100), jaxlib 0.10.2",
        f"  {KEY}: winograd 3 µs, im2col 1.2 ms, direct 2.5 s",
    ]


def test_lookup_and_best():
    known = table({"direct": 3.0, "im2col": 2.0, "subpixel": 1.0, "not yet invented": 0.5})
    assert known.lookup("forward", SPEC, CPU) == known.seconds[KEY]
    assert known.best("forward", SPEC, CPU) == "im2col"  # subpixel declines, the other is unknown
    padded = dataclasses.replace(SPEC, axes=(Axis(7, 3, lo=-1, hi=3), SPEC.axes[1]))
    for slot, spec, target in [
        ("weight_grad", SPEC, CPU),
        ("forward", padded, CPU),
        ("forward", dataclasses.replace(SPEC, batch=0), CPU),
        ("forward", SPEC, dataclasses.replace(CPU, platform="cuda")),
        ("forward", SPEC, dataclasses.replace(CPU, dtype=jnp.dtype(jnp.bfloat16))),
        ("forward", SPEC, dataclasses.replace(CPU, precision=lax.Precision.HIGHEST)),
    ]:
        assert known.lookup(slot, spec, target) is None
        assert known.best(slot, spec, target) is None
    assert table({"subpixel": 1.0}).best("forward", SPEC, CPU) is None


def test_merge_takes_the_least():
    other_key = KEY.replace("n2", "n3")
    a = table({"direct": 3.0, "im2col": 1.0})
    b = Table("cpu", "cpu", "0.10.2", {KEY: {"direct": 2.0, "winograd": 4.0}, other_key: {"direct": 5.0}})
    union = {KEY: {"direct": 2.0, "im2col": 1.0, "winograd": 4.0}, other_key: {"direct": 5.0}}
    assert (a | b).seconds == (b | a).seconds == a.merge(b).seconds == union
    assert a.seconds == {KEY: {"direct": 3.0, "im2col": 1.0}}


@pytest.mark.parametrize("field", ["platform", "device_kind", "jaxlib"])
def test_merge_refuses_other_devices_and_versions(field):
    with pytest.raises(ValueError, match=f"different {field} do not merge: .* here, 'tpu' there"):
        table().merge(table(**{field: "tpu"}))


def test_save_and_load(tmp_path):
    path = tmp_path / "new" / "folder" / "times.json"
    known = table({"direct": 1 / 3, "im2col": 1e-6}, "cuda", "NVIDIA H100 · é")
    for written in (table(), known):  # over an existing file, too
        written.save(path)
        assert Table.load(path) == Table.load(str(path)) == written
    assert [p.name for p in path.parent.iterdir()] == ["times.json"]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "times.json"
    table({"direct": 1.0}).save(path)

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        table({"direct": 2.0}).save(path)
    assert Table.load(path) == table({"direct": 1.0})
    assert [p.name for p in tmp_path.iterdir()] == ["times.json"]


GOOD = {
    "schema": "jaxconv tuning table",
    "version": 1,
    "platform": "cpu",
    "device_kind": "cpu",
    "jaxlib": "0.10.2",
    "seconds": {KEY: {"direct": 1.0}},
}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no tuning table, or a damaged one"),
        (json.dumps(GOOD)[:-5], "no tuning table, or a damaged one"),
        (b"\xff\xfe\x00", "no tuning table, or a damaged one"),
        ([GOOD], "schema is not 'jaxconv tuning table'"),
        (GOOD | {"schema": "another"}, "schema is not 'jaxconv tuning table'"),
        (GOOD | {"version": 2}, "version 2; this release reads version 1"),
        (GOOD | {"platform": None}, "a field is missing or of another type"),
        ({k: v for k, v in GOOD.items() if k != "seconds"}, "a field is missing or of another type"),
        (GOOD | {"platform": "gpu"}, "platform='gpu' is not known"),
        (GOOD | {"seconds": {"forward": {}}}, "'forward' is no key"),
        (GOOD | {"seconds": {KEY: [1.0]}}, "wanted seconds by algorithm"),
        (GOOD | {"seconds": {KEY: {"direct": -1}}}, "wanted a positive number"),
    ],
)
def test_load_refuses_with_the_reason(content, words, tmp_path):
    path = tmp_path / "times.json"
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=words) as error:
        Table.load(path)
    assert str(path) in str(error.value)


def test_what_it_refuses_is_otherwise_good(tmp_path):
    (tmp_path / "times.json").write_text(json.dumps(GOOD))
    assert Table.load(tmp_path / "times.json") == table({"direct": 1.0})
