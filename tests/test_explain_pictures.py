"""Pictures tell the truth: what a story reads and writes is the convolution; files are what they say."""

import io
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from jaxconv import cli, explain
from jaxconv.explain.layer import Layer
from jaxconv.explain.scene import COLOURS, HEATS, TINTS, Box, Line, Words
from jaxconv.explain.story import Story, tell
from tests.explain_cases import arrays, draw_layer, expected

METHODS = ("overlap_add", "zero_insertion", "subpixel")
UP = explain.layer((2, 3), 3, stride=2, padding=1, transposed=True, output_padding=1)
LAYERS = {
    "strided": explain.layer(7, 3, stride=2, padding=1),
    "causal dilated": explain.layer(6, 3, dilation=2, padding="CAUSAL"),
    "two dimensions": explain.layer((4, 5), (3, 2), stride=(2, 1), padding=((1, 0), (0, 1))),
    "grouped": explain.layer(5, 3, groups=2, in_channels=4, out_channels=6),
    "depthwise": explain.layer((4, 3), 2, groups=3),
    "three dimensions": explain.layer((3, 3, 4), 2, padding=((1, 0), (0, 0), (0, 0))),
    "transposed": UP,
}
# Odd sums of padding, more cropped than a span, output padding past the last patch, phases without taps.
TRANSPOSED = {
    **{f"seed {s}": d for s in range(40) if (d := draw_layer(s, rank=s % 2 + 1)).transposed},
    "cropped": explain.layer(5, 2, stride=3, padding=((3, 2),), transposed=True),
    "stretched": explain.layer(3, 2, stride=4, transposed=True, output_padding=3),
    "holes": explain.layer(4, 2, dilation=2, stride=2, transposed=True, output_padding=1),
}


def told(story: Story, described: Layer, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The output of following the steps."""
    y = np.zeros((*described.out, described.out_channels))
    size, stride = described.size, [data.step for data in story.source.data]
    for step in story.steps:
        for (c, place), (o, target) in itertools.product(step.reads, step.writes):
            if not (story.source.holds_data(place) and story.target.holds_data(target)):
                continue
            tap = step.writes[o, target] if story.patches else step.reads[c, place]
            at = tuple(p // s for p, s in zip(place, stride, strict=True))
            assert all(0 <= i < n for i, n in zip(at, size, strict=True))
            here, there = (o, c) if described.transposed else (c, o)
            own = (
                described.out_channels if described.transposed else described.in_channels
            ) // described.groups
            y[(*target, o)] += x[(*at, c)] * kernel[(*tap, here % own, there)]
    return y


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", TRANSPOSED)
def test_every_method_is_the_transposed_convolution(name: str, method: str) -> None:
    described = TRANSPOSED[name]
    x, kernel, _ = arrays(described, 1)
    np.testing.assert_allclose(
        told(tell(described, method), described, x[0].astype(float), kernel),
        expected(described, x[:1], kernel)[0],
        atol=1e-10,
    )


@pytest.mark.parametrize("name", LAYERS)
def test_every_step_is_the_convolution(name: str) -> None:
    described = LAYERS[name]
    x, kernel, _ = arrays(described, 2)
    story = tell(described)
    wanted = expected(described, x[:1], kernel)[0]
    np.testing.assert_allclose(told(story, described, x[0].astype(float), kernel), wanted, atol=1e-10)
    if story.patches:
        reads = {cell for step in story.steps for cell in step.reads}
        assert len(reads) == len(story.steps) == x[0].size
    else:
        assert len(story.steps) == wanted.size


@pytest.mark.parametrize("name", LAYERS)
def test_marks_stay_on_the_paper_and_svg_says_what_it_is(name: str) -> None:
    scene = explain.draw(LAYERS[name]).scene
    for mark in scene.marks:
        corners = {
            Box: lambda m: [(m.x, m.y), (m.x + m.width, m.y + m.height)],
            Line: lambda m: [m.start, m.end],
            # 0.6 of the size is the width of a letter, generously.
            Words: lambda m: [
                (m.x - 0.3 * m.size * len(m.text), m.y),
                (m.x + 0.3 * m.size * len(m.text), m.y),
            ],
        }[type(mark)](mark)
        assert all(0 <= x <= scene.width and 0 <= y <= scene.height for x, y in corners), mark
    for theme in ("auto", "light", "dark"):
        root = ET.fromstring(explain.draw(LAYERS[name]).svg(theme))
        assert [e.text for e in root.findall("{*}desc")] == [scene.description]
        rects = root.findall("{*}rect")
        assert len(rects) == 1 + sum(isinstance(m, Box) for m in scene.marks)
        assert rects[0].get("fill") == COLOURS["light" if theme == "auto" else theme]["paper"]
        assert ("prefers-color-scheme" in ET.tostring(root, "unicode")) is (theme == "auto")


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("theme", COLOURS)
def test_words_have_contrast(theme: str) -> None:
    """WCAG 2: 4.5 for words, 3 for the frames of cells."""
    colours = COLOURS[theme]

    def contrast(a: str, b: str) -> float:
        dark, light = sorted((luminance(colours[a]), luminance(colours[b])))
        return (light + 0.05) / (dark + 0.05)

    assert min(contrast(ink, "paper") for ink in ("ink", "muted", "orange")) >= 4.5
    areas = [*(f"{tint}-fill" for tint in TINTS), *(f"heat-{i + 1}" for i in range(HEATS))]
    assert min(contrast("ink", area) for area in areas) >= 4.5
    assert min(contrast(tint, "paper") for tint in TINTS) >= 3


def test_png_and_gif_are_the_scene(tmp_path: Path) -> None:
    picture = explain.draw(LAYERS["strided"])
    for theme in ("light", "dark"):
        image = Image.open(io.BytesIO(picture.png(theme, scale=1.0))).convert("RGB")
        assert np.abs(np.subtract(image.size, (picture.scene.width, picture.scene.height))).max() < 1
        assert f"#{np.asarray(image)[1, 1].tobytes().hex()}" == COLOURS[theme]["paper"]
    animation = explain.animate(LAYERS["strided"])
    animation.save(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]
    assert len(frames) == len(animation.captions) == 4
    assert {(255, 255, 255), (204, 227, 240)} <= set(map(tuple, frames[1].reshape(-1, 3)))  # paper, data
    assert all((a != b).any() for a, b in itertools.pairwise(frames))


def test_animation_page_has_every_step_and_needs_nothing() -> None:
    animation = explain.animate(UP, method="subpixel")
    page = animation.html()
    assert page.count('<g class="step"') == len(animation.captions) == np.prod(UP.out)
    assert all(caption in page for caption in animation.captions)
    assert re.findall(r"https?://[^\s\"]+", page) == ["http://www.w3.org/2000/svg"]


def test_matrix_holds_the_kernel_and_its_transpose() -> None:
    described = explain.layer(7, 3, stride=2, padding=1)
    scene = explain.draw_matrix(described).scene
    labels = [m.text for m in scene.marks if isinstance(m, Words) and m.text.startswith("w")]
    each = described.multiply_adds
    assert len(labels) == 2 * each
    assert scene.title == f"A is 4 × 7, {each} of 28 entries are not zero; Aᵀ is 7 × 4"
    with pytest.raises(ValueError, match="can't be looked at"):
        explain.draw_matrix(explain.layer((40, 40), 3))


def test_coverage_counts_products() -> None:
    scene = explain.draw_coverage(UP).scene
    counts = [int(m.text) for m in scene.marks if isinstance(m, Words) and m.text.isdigit()]
    assert sum(counts) == UP.multiply_adds
    assert max(counts) == 4


@pytest.mark.parametrize("transposed", [False, True])
def test_groups_say_which_channels_a_slice_joins(transposed: bool) -> None:
    """The slice's entries change exactly the outputs that it names, for exactly the inputs that it names."""
    grouped = explain.groups(4, 6, 2, transposed=transposed)
    described = explain.layer(1, 1, groups=2, in_channels=4, out_channels=6, transposed=transposed)
    for index, part in enumerate(grouped.slices):
        kernel = np.zeros(described.kernel_shape)
        kernel[..., :, index] = 1
        matrix = expected(described, np.eye(4).reshape(4, 1, 4), kernel)[:, 0]
        assert [tuple(np.flatnonzero(matrix.any(axis=axis))) for axis in (1, 0)] == [part.sums, part.into]
    words = [m.text for m in grouped.picture().scene.marks if isinstance(m, Words)]
    assert f"PyTorch, ONNX: {'(4, 3, *k)' if transposed else '(6, 2, *k)'}" in words


def test_commands_write_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "draw 3 --kernel 3 --stride 2 --transposed --method zero_insertion --theme dark --out"
    for suffix, start in {"svg": b"<svg", "png": b"\x89PNG", "gif": b"GIF8", "html": b"<!doctype"}.items():
        assert cli.main([*line.split(), str(tmp_path / f"a.{suffix}")]) == 0
        assert (tmp_path / f"a.{suffix}").read_bytes().startswith(start)
    for view in ("matrix", "coverage", "groups"):
        assert (
            cli.main(f"draw 3 --kernel 3 --groups 2 --view {view} --out {tmp_path / view}.svg".split()) == 0
        )
    refused = {
        f"draw 3 --kernel 3 --out {tmp_path}/a.pdf": "must end in .svg or .png",
        f"draw 3 --kernel 3 --view matrix --out {tmp_path}/a.gif": "does not move",
        f"draw 3 --kernel 3 --method subpixel --out {tmp_path}/a.svg": "method='subpixel' is not known",
        f"draw 90,90 --kernel 3 --out {tmp_path}/a.svg": "cells; choose sizes",
        f"draw 3 --kernel 3 --at 1 --out {tmp_path}/a.svg": "at=1 must be a step",
        f"draw 12,12 --kernel 1 --out {tmp_path}/a.gif": "144 steps",
    }
    for words, message in refused.items():
        assert cli.main(words.split()) == 1
        assert message in capsys.readouterr().err


def test_svg_needs_no_other_library() -> None:
    code = (
        "import sys\nfrom jaxconv import explain\nexplain.draw(explain.layer(5, 3)).svg()\nexplain.page()\n"
        "print(*{'matplotlib', 'PIL'} & sys.modules.keys())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
