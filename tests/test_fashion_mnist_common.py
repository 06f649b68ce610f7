"""What the Fashion-MNIST example shares with others: IDX files, the confusion matrix and its picture."""

import doctest
import gzip
import struct
import tracemalloc

import jax
import numpy as np
import pytest
import sklearn.metrics
from PIL import Image

from examples.common import confusion as confusion_module
from examples.common import figures
from examples.common.confusion import Metrics, count
from examples.common.idx import TYPES, read_idx


def idx(array: np.ndarray, code: int) -> bytes:
    """Written from the format's description, one element at a time."""
    letter = {0x08: "B", 0x09: "b", 0x0B: "h", 0x0C: "i", 0x0D: "f", 0x0E: "d"}[code]
    header = struct.pack(">HBB", 0, code, array.ndim) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + b"".join(struct.pack(f">{letter}", value) for value in array.ravel().tolist())


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (3, 2, 4), (2, 1, 3, 2), (0, 4)], ids=str)
@pytest.mark.parametrize("code", TYPES, ids=hex)
def test_idx_of_every_type_and_rank(tmp_path, rng, code, shape, packed):
    kind = np.dtype(TYPES[code]).newbyteorder("=")
    array = (100 * rng.normal(size=shape)).astype(np.int8).astype(kind) * np.asarray(1, kind)
    path = tmp_path / "array"
    content = idx(array, code)
    path.write_bytes(gzip.compress(content) if packed else content)
    read = read_idx(path)
    assert read.dtype == kind
    assert read.flags.writeable
    np.testing.assert_array_equal(read, array, strict=True)


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), 0x08)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "0 of 4 bytes of the magic number"),
        (GOOD[:3], "3 of 4 bytes of the magic number"),
        (b"\0\1" + GOOD[2:], "begins with 00010803"),
        (b"\0\0\x0a" + GOOD[3:], "begins with 00000a03"),
        (GOOD[:9], "5 of 12 bytes of the lengths of 3 axes"),
        (GOOD[:-1], r"cut short: .* of|cut short: .* takes 24 bytes"),
        (GOOD + b"x", r"1 bytes more than \(2, 3, 4\)|goes on after \(2, 3, 4\)"),
        (
            struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + GOOD[16:],
            "the file has room for",
        ),
        (struct.pack(">HBB", 0, 8, 200) + bytes(800), "dimension"),
    ],
    ids=["empty", "magic cut", "first bytes", "type", "lengths cut", "cut", "longer", "huge", "200 axes"],
)
def test_idx_that_is_wrong_is_named(tmp_path, content, wrong, packed):
    path = tmp_path / "some-images"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ValueError, match=wrong) as caught:
        read_idx(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("damage", ["cut", "bytes", "checksum"])
def test_idx_in_a_damaged_gzip_is_named(tmp_path, rng, damage):
    packed = gzip.compress(idx(rng.integers(0, 255, 5000, np.uint8), 0x08))
    path = tmp_path / "some-images.gz"
    half = len(packed) // 2
    path.write_bytes(
        {
            "cut": packed[:half],
            "bytes": packed[:12] + b"\xff" * 20 + packed[32:],
            "checksum": packed[:-8] + b"\0\0\0\0" + packed[-4:],
        }[damage]
    )
    with pytest.raises(ValueError, match=r"some-images\.gz: damaged gzip"):
        read_idx(path)


def test_idx_that_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no IDX file at .*some-images"):
        read_idx(tmp_path / "some-images")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_idx_allocates_no_more_than_there_is(tmp_path, packed):
    """A header that promises 200 MB, in a file of 200 kB: in gzip that much could be in it."""
    content = struct.pack(">HBBI", 0, 8, 1, 200_000_000) + np.random.default_rng(1).bytes(200_000)
    path = tmp_path / "array"
    path.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    with pytest.raises(ValueError, match="cut short"):
        read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_confusion_against_scikit_learn(rng):
    truth, predicted = rng.integers(0, 5, (7, 11)), rng.integers(0, 4, (7, 11))  # 4 is never predicted
    matrix = np.asarray(jax.jit(count, static_argnums=2)(truth, predicted, 6))  # and 5 is not there at all
    y, p = truth.ravel(), predicted.ravel()
    np.testing.assert_array_equal(matrix, sklearn.metrics.confusion_matrix(y, p, labels=range(6)))
    metrics, some = Metrics(matrix), {"labels": range(5), "average": None, "zero_division": 0}
    assert metrics.accuracy == pytest.approx(sklearn.metrics.accuracy_score(y, p), rel=1e-14)
    np.testing.assert_allclose(metrics.recall[:5], sklearn.metrics.recall_score(y, p, **some), rtol=1e-14)
    np.testing.assert_allclose(
        metrics.precision[:4], np.asarray(sklearn.metrics.precision_score(y, p, **some))[:4], rtol=1e-14
    )
    jaccard = np.asarray(sklearn.metrics.jaccard_score(y, p, **some))
    np.testing.assert_allclose(metrics.iou[:5], jaccard, rtol=1e-14)
    np.testing.assert_allclose(metrics.dice[:5], sklearn.metrics.f1_score(y, p, **some), rtol=1e-14)
    assert metrics.mean_iou == pytest.approx(jaccard.mean(), rel=1e-14)
    assert metrics.mean_recall == pytest.approx(sklearn.metrics.balanced_accuracy_score(y, p), rel=1e-14)
    weighted = sklearn.metrics.jaccard_score(y, p, average="weighted")
    assert metrics.frequency_weighted_iou == pytest.approx(weighted, rel=1e-14)
    assert np.isnan([metrics.recall[5], metrics.iou[5], metrics.dice[5], metrics.precision[4]]).all()


@pytest.mark.parametrize("kind", [np.uint8, np.int32])
def test_confusion_leaves_out_what_is_no_class(kind):
    truth = np.array([0, 1, 2, 255, 2, 1], kind)
    predicted = np.array([0, 2, 2, 1, 0, 1], kind)
    np.testing.assert_array_equal(count(truth, predicted, 3), [[1, 0, 0], [0, 1, 1], [1, 0, 1]])
    np.testing.assert_array_equal(count(truth, predicted, 3, ignore=1), [[1, 0, 0], [0, 0, 0], [1, 0, 1]])
    np.testing.assert_array_equal(count(truth.astype(int) - 1, predicted, 3, ignore=254)[1], [1, 0, 1])


def test_confusion_doctest():
    failed, attempted = doctest.testmod(confusion_module)
    assert attempted
    assert not failed


def dark_blue(path):
    red, _, blue = np.moveaxis(np.asarray(Image.open(path).convert("RGB")).astype(int), -1, 0)
    return (blue - red > 60) & (blue < 140)


def test_confusion_picture_darkens_with_the_share(tmp_path):
    """Each row's darkest cell is its largest share, whatever the number of examples in that row."""
    figures.confusion_matrix(
        tmp_path / "a.png", Metrics(np.diag([9, 5000])), ["a", "b"], title="t", what="images"
    )
    figures.confusion_matrix(
        tmp_path / "b.png", Metrics(np.array([[0, 9], [5000, 0]])), ["a", "b"], title="t", what="images"
    )
    first, second = (dark_blue(tmp_path / name) for name in ("a.png", "b.png"))
    rows, columns = np.where(first)
    middle_row, middle = (rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2
    upper_left = np.s_[rows.min() : middle_row, columns.min() : middle]
    assert first[upper_left].mean() > 0.8
    assert second[upper_left].mean() < 0.1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_tiles():
    sheet = figures.tiles(np.arange(12.0).reshape(3, 2, 2), columns=2)
    nan = np.nan
    expected = [
        [0, 1, nan, 4, 5],
        [2, 3, nan, 6, 7],
        [nan] * 5,
        [8, 9, nan, nan, nan],
        [10, 11, nan, nan, nan],
    ]
    np.testing.assert_array_equal(sheet, expected)
