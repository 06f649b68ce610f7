"""The segmentation example's pictures and tables: what is painted where, and in colours that can be told."""

import io
from itertools import combinations

import numpy as np
import pytest
import skimage.color
from matplotlib.colors import to_rgb
from PIL import Image
from rich.console import Console

from examples.common.confusion import Metrics
from examples.fcn_segmentation import colours, figure
from examples.fcn_segmentation.dataset import IGNORE, Pair
from examples.fcn_segmentation.table import per_class

CLASSES = ("ground", "ant", "bee", "cat")


@pytest.fixture
def picture(rng):
    """Three squares and a frame to ignore; the prediction misses one, invents one, confuses one."""
    label = np.zeros((40, 60), np.uint8)
    label[5:15, 5:15], label[5:15, 25:35], label[25:35, 5:15] = 1, 2, 3
    label[:2] = IGNORE
    predicted = label % IGNORE
    predicted[5:15, 5:15], predicted[5:15, 25:35], predicted[25:35, 40:50] = 0, 3, 1
    return Pair("the picture", rng.uniform(size=(40, 60, 3)).astype(np.float32), label), predicted


def test_classes_are_painted_in_their_colour_and_the_ground_in_grey(picture):
    pair, _ = picture
    painted = colours.paint(pair.image, pair.label, len(CLASSES))
    assert painted.shape == (40, 60, 3)
    for number in (1, 2, 3):
        shades = painted[pair.label == number] / np.array(to_rgb(colours.of_class(number))).clip(1e-9)
        strength = shades[:, np.array(to_rgb(colours.of_class(number))) > 0]
        np.testing.assert_allclose(strength, strength[:, :1].repeat(strength.shape[1], 1), atol=1e-6)
        assert 0.5 < strength.min() < strength.max() < 1
    ground = painted[pair.label == 0]
    np.testing.assert_array_equal(ground[:, 0], ground[:, 2])
    np.testing.assert_array_equal(painted[0], [to_rgb(colours.IGNORED)] * 60)


def test_errors_are_painted_by_their_kind(picture):
    pair, predicted = picture
    painted = colours.paint_errors(pair.image, pair.label, predicted)
    for place, colour in (
        ((slice(5, 15), slice(5, 15)), colours.MISSED),
        ((slice(5, 15), slice(25, 35)), colours.CONFUSED),
        ((slice(25, 35), slice(40, 50)), colours.FALSE_ALARM),
        ((slice(0, 2), slice(0, 60)), colours.IGNORED),
    ):
        np.testing.assert_allclose(
            painted[place].reshape(-1, 3), [to_rgb(colour)] * painted[place][..., 0].size, atol=1e-6
        )
    right = (pair.label == predicted) & (pair.label != IGNORE)
    np.testing.assert_allclose(painted[right], 0.55 * pair.image[right].mean(-1, keepdims=True).repeat(3, 1))


# G. Machado, M. Oliveira, L. Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", 2009, doi:10.1109/TVCG.2009.113: linear RGB as seen without one kind of cone.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


def seen(names, sight):
    rgb = np.array([to_rgb(name) for name in names])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(SIGHT[sight]).T, 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return skimage.color.rgb2lab(rgb[None])[0]


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(
    ("names", "distance"),
    [
        ([colours.of_class(number) for number in range(1, 5)], 15),
        ([colours.of_class(number) for number in range(1, 11)], 10),
        ([colours.MISSED, colours.FALSE_ALARM, colours.CONFUSED], 15),
        (["white", *colours.NETWORKS], 15),
    ],
    ids=["four classes", "ten classes", "errors", "outlines"],
)
def test_colours_differ_for_every_kind_of_sight(names, distance, sight):
    """In CIELAB, where about 2 is a difference that is just noticed."""
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen(names, sight), 2)) > distance


def test_red_and_green_would_not_do():
    assert np.linalg.norm(np.subtract(*seen(["#c44e00", "#7a7a00"], "deuteranopia"))) < 10


def test_many_classes_have_colours():
    assert len({colours.of_class(number) for number in range(1, 21)}) >= 19


def test_the_legend_names_what_is_shown():
    shown = colours.of_names(CLASSES, {0, 2, IGNORE})
    assert shown == [("bee", colours.of_class(2)), ("ignored", colours.IGNORED)]
    assert [name for name, _ in colours.of_errors(4)] == ["missed", "false alarm", "another class"]
    assert [name for name, _ in colours.of_errors(2)] == ["missed", "false alarm"]


def share(path, colour):
    """Of the picture's pixels that have this colour."""
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB"))
    return np.mean((pixels == np.round(255 * np.array(to_rgb(colour)))).all(axis=-1))


def test_overlays_show_every_picture(picture, tmp_path):
    pair, predicted = picture
    path = tmp_path / "overlays.png"
    tall = Pair("tall", np.zeros((80, 30, 1), np.uint8), np.full((80, 30), IGNORE, np.uint8))
    figure.overlays(path, [pair, tall], [predicted, tall.label % IGNORE], CLASSES)
    with Image.open(path) as file:
        assert file.size[0] == 1400
        assert file.size[1] > 340 * (40 / 60 + 80 / 30)
    # A fifth of the height, a quarter of the width, and there 100 of 2400 pixels; with a margin of half.
    for colour in (colours.MISSED, colours.CONFUSED, colours.FALSE_ALARM):
        assert share(path, colour) > 0.5 * (1 / 5) * (1 / 4) * (100 / 2400)
    # The other row: truth and errors are ignored as a whole.
    assert share(path, colours.IGNORED) > 0.1


def test_the_boundary_picture_shows_the_busiest_place(picture, tmp_path):
    pair, predicted = picture
    label = np.zeros((200, 220), np.uint8)
    label[120:150:4, 130:160:4] = 1
    label[20:40, 20:40] = 2
    rows, columns = figure._window(label, 48)
    assert rows.start <= 120 < 145 < rows.stop == rows.start + 48
    assert columns.start <= 130 < 155 < columns.stop == columns.start + 48
    assert figure._window(label[:30], 48)[0] == slice(0, 30)
    path = tmp_path / "boundary.png"
    figure.at_boundary(path, pair, {"FCN-32s": predicted, "FCN-8s": pair.label % IGNORE}, CLASSES, side=30)
    for colour in (*colours.NETWORKS[:2], colours.MISSED):
        assert share(path, colour) > 0.001


def test_an_ignored_edge_is_not_a_busy_place():
    label = np.zeros((60, 60), np.uint8)
    label[:, :20:2] = IGNORE
    label[45:50, 45:50] = 1
    rows, columns = figure._window(label, 12)
    assert rows.start <= 45 < 50 <= rows.stop
    assert columns.start <= 45 < 50 <= columns.stop


def test_outlines_run_between_the_pixels():
    label = np.zeros((4, 5), np.uint8)
    label[1:3, 2] = 1
    axis = figure._figure(2, 2).subplots()
    figure._outline(axis, label, "white", 1)
    paths = axis.collections[-1].get_paths()
    segments = {tuple(sorted(map(tuple, np.asarray(path.vertices).tolist()))) for path in paths}
    assert segments == {
        ((1.5, 0.5), (2.5, 0.5)),
        ((1.5, 2.5), (2.5, 2.5)),
        ((1.5, 0.5), (1.5, 1.5)),
        ((1.5, 1.5), (1.5, 2.5)),
        ((2.5, 0.5), (2.5, 1.5)),
        ((2.5, 1.5), (2.5, 2.5)),
    }


def test_the_table_states_every_class():
    metrics = Metrics(np.array([[900, 50, 0, 0], [20, 30, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    out = io.StringIO()
    Console(file=out, width=120).print(per_class(metrics, CLASSES, title="held out"))
    rows = {line.split()[1]: line.split()[2:] for line in out.getvalue().splitlines() if line.count("│") > 4}
    values = {name: [part for part in row if part != "│"] for name, row in rows.items()}
    assert values["ground"] == ["92.8", "94.7", "97.8", "96.3", "95.0"]
    assert values["ant"] == ["30.0", "60.0", "37.5", "46.2", "5.0"]
    assert values["bee"] == values["cat"] == ["-", "-", "-", "-", "0.0"]
    assert values["mean"] == ["61.4", "77.4", "67.7", "71.2"]
    assert "93.0 % right" in out.getvalue()
