"""The segmentation example's scores: against scikit-learn, exact in any division, and near boundaries."""

import doctest
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from examples.common.confusion import Metrics, count
from examples.fcn_segmentation import metrics as metrics_module
from examples.fcn_segmentation.dataset import IGNORE
from examples.fcn_segmentation.metrics import Tally, boundaries, only_boundary, summary, tally

CLASSES = 5


@pytest.fixture
def results(rng):
    """Pictures of three sizes; the last class is neither in a label nor in a prediction."""
    pairs = []
    for shape in ((31, 44), (7, 9), (300, 251)):
        label = rng.choice([0, 1, 2, 3, IGNORE], shape, p=[0.5, 0.2, 0.15, 0.05, 0.1]).astype(np.uint8)
        predicted = np.where(rng.uniform(size=shape) < 0.6, label % 4, rng.integers(0, 4, shape))
        pairs.append((label, predicted))
    return pairs


def flat(results):
    label = np.concatenate([label.ravel() for label, _ in results])
    predicted = np.concatenate([predicted.ravel() for _, predicted in results])
    return label[label != IGNORE], predicted[label != IGNORE]


def test_scores_are_those_of_scikit_learn(results):
    found, (truth, predicted) = tally(results, CLASSES), flat(results)
    matrix = sklearn.metrics.confusion_matrix(truth, predicted, labels=range(CLASSES))
    np.testing.assert_array_equal(found.matrix, matrix)
    shown = [0, 1, 2, 3]
    per_class = {"labels": shown, "average": None}
    np.testing.assert_allclose(found.iou[:4], sklearn.metrics.jaccard_score(truth, predicted, **per_class))
    np.testing.assert_allclose(found.dice[:4], sklearn.metrics.f1_score(truth, predicted, **per_class))
    assert np.isnan([found.iou[4], found.dice[4], found.recall[4]]).all()
    wanted = {
        "pixel_accuracy": sklearn.metrics.accuracy_score(truth, predicted),
        "mean_accuracy": sklearn.metrics.balanced_accuracy_score(truth, predicted),
        "miou": sklearn.metrics.jaccard_score(truth, predicted, average="macro"),
        "fwiou": sklearn.metrics.jaccard_score(truth, predicted, average="weighted"),
        "mean_dice": sklearn.metrics.f1_score(truth, predicted, average="macro"),
    }
    assert summary(found) == pytest.approx(wanted, rel=1e-12)
    assert len({round(value, 6) for value in wanted.values()}) == 5


def test_classes_that_do_not_occur():
    """Class 2 is predicted, but in no label; class 3 is in neither."""
    scores = Metrics(np.array([[6, 0, 2, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    assert np.isnan(scores.recall).tolist() == [False, False, True, True]
    assert scores.iou[2] == scores.dice[2] == 0
    assert np.isnan(scores.iou[3])
    means = summary(scores)
    assert means["mean_accuracy"] == pytest.approx((6 / 8 + 1 / 2) / 2)
    assert means["miou"] == pytest.approx((6 / 9 + 1 / 2 + 0) / 3)
    assert means["mean_dice"] == pytest.approx((12 / 15 + 2 / 3 + 0) / 3)


def test_counts_are_exact_beyond_float32():
    """2**24 + 1 is the first whole number that float32 does not have."""
    label = np.zeros(2**24 + 3, np.uint8)
    label[:2] = 1, IGNORE
    total = Tally(2)
    total.add(label, np.zeros_like(label))
    assert total.matrix.tolist() == [[2**24 + 1, 0], [1, 0]]
    # And of many pictures beyond int32.
    for _ in range(3):
        total.add_matrix(jnp.full((2, 2), 2**31 - 1, jnp.int32))
    assert total.matrix.tolist() == [[3 * 2**31 + 2**24 - 2, 3 * 2**31 - 3], [3 * 2**31 - 2, 3 * 2**31 - 3]]
    assert np.isfinite(list(summary(total.metrics()).values())).all()


def test_counts_of_a_batch_over_eight_devices_are_summed_on_them(rng):
    label = rng.choice([0, 1, 2, IGNORE], (16, 13, 11)).astype(np.int32)
    predicted = rng.integers(0, 3, label.shape).astype(np.int32)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    program = jax.jit(lambda *pair: count(*pair, 3, ignore=IGNORE), out_shardings=everywhere)
    pair = [jax.device_put(array, split) for array in (label, predicted)]
    total = Tally(3)
    total.add_matrix(program(*pair))
    np.testing.assert_array_equal(total.matrix, tally([(label, predicted)], 3).matrix)
    np.testing.assert_array_equal(
        total.matrix, [[np.sum((label == i) & (predicted == j)) for j in range(3)] for i in range(3)]
    )
    # Counts travel between devices, pixels do not.
    text = program.lower(*pair).compile().as_text()
    assert set(re.findall(r"(all-[a-z]+|collective-[a-z]+|reduce-scatter)", text)) == {"all-reduce"}


def test_pictures_of_many_sizes_need_few_programs(rng):
    total = Tally(2)
    for height in range(10, 40):
        label = rng.integers(0, 2, (height, 50)).astype(np.uint8)
        total.add(label, label)
    assert total._count._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert total.matrix.sum() == 50 * sum(range(10, 40))
    with pytest.raises(ValueError, match=r"labels are \(3, 4\), predictions \(4, 3\)"):
        total.add(np.zeros((3, 4), np.uint8), np.zeros((4, 3), np.uint8))


# The boundary band


def slow_band(label, width):
    """Every pixel against every boundary pixel."""
    at = list(np.ndindex(*label.shape))
    edge = [
        p
        for p in at
        for step in ((0, 1), (1, 0), (0, -1), (-1, 0))
        if (q := (p[0] + step[0], p[1] + step[1])) in at and label[p] != label[q]
    ]
    near = [any((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 < width**2 for q in edge) for p in at]
    return np.where(np.reshape(near, label.shape), label, IGNORE)


@pytest.mark.parametrize("width", [1, 2, 2.5, 4])
def test_the_band_is_what_lies_near_another_class(rng, width):
    label = (rng.uniform(size=(2, 3)) < 0.5).repeat(12, 0).repeat(9, 1)[:17, :24].astype(np.uint8)
    label[2:5, 3:6] = 2
    found = only_boundary(label, width)
    np.testing.assert_array_equal(found, slow_band(label, width))
    assert found.dtype == np.uint8
    assert ((found == IGNORE) <= (only_boundary(label, width - 0.5) == IGNORE)).all()


def test_a_strip_to_ignore_has_the_boundary_in_its_middle():
    label = np.zeros((6, 20), np.uint8)
    label[:, 10:] = 1
    label[:, 8:12] = IGNORE
    wanted = np.full((6, 20), IGNORE)
    wanted[:, 6:8], wanted[:, 12:14] = 0, 1  # 4 pixels from the boundary on each side, 2 of them ignored
    np.testing.assert_array_equal(only_boundary(label, 4), wanted)


def test_an_edge_to_ignore_is_no_boundary():
    label = np.zeros((12, 15), np.uint8)
    label[:3] = label[:, -4:] = IGNORE
    assert (only_boundary(label, 3) == IGNORE).all()
    assert (only_boundary(np.full((3, 4), IGNORE, np.uint8), 3) == IGNORE).all()


def test_boundary_scores_tell_blurred_outlines_that_others_forgive():
    """Both predictions have as many errors: on the outline and in the middle of what they outline."""
    label = np.zeros((60, 70), np.uint8)
    label[10:50, 15:55] = 1
    outline, middle = label.copy(), label.copy()
    outline[10, 15:55] = outline[49, 15:55] = 0
    middle[25:33, 30:40] = 0
    everywhere = [tally([(label, guess)], 2).iou for guess in (outline, middle)]
    np.testing.assert_array_equal(*everywhere)
    band = [tally([(label, guess)], 2, width=2).mean_iou for guess in (outline, middle)]
    assert band[1] == 1
    assert band[0] < 0.85
    counted = tally([(label, outline)], 2, width=1)
    assert counted.matrix.sum() == boundaries(label).sum() == 2 * 40 + 2 * 38 + 4 * 40


def test_docstrings_are_true():
    result = doctest.testmod(metrics_module)
    assert result.attempted
    assert not result.failed
