"""Draws every picture of docs/explain.md: `python -m docs.pictures.explain`."""

from __future__ import annotations

from pathlib import Path

from jaxconv import explain
from jaxconv.explain.draw import Picture

IMAGES = Path(__file__).parent.parent / "images"
UP = explain.layer((3, 3), 3, stride=2, padding=1, transposed=True, output_padding=1)
UP_ROW = explain.layer(4, 3, stride=2, padding=1, transposed=True, output_padding=1)
METHODS = ("overlap_add", "zero_insertion", "subpixel")


def pictures() -> dict[str, Picture]:
    """By name; as SVG they follow the viewer's theme."""
    return {
        "strided": explain.draw(explain.layer(7, 3, stride=2, padding=1)),
        "dilated": explain.draw(explain.layer((7, 7), 3, dilation=2)),
        "causal": explain.draw(explain.layer(8, 3, dilation=2, padding="CAUSAL")),
        "depthwise": explain.draw(explain.layer((4, 4), 3, groups=3)),
        "slices": explain.draw(explain.layer((3, 4, 4), 2)),
        "matrix": explain.draw_matrix(explain.layer(7, 3, stride=2, padding=1)),
        "matrix_2d": explain.draw_matrix(explain.layer((5, 5), 3, padding=1)),
        "transposed_row": explain.draw(UP_ROW, method="zero_insertion"),
        "coverage_3": explain.draw_coverage(explain.layer((4, 4), 3, stride=2, padding=1, transposed=True)),
        "coverage_4": explain.draw_coverage(explain.layer((4, 4), 4, stride=2, padding=1, transposed=True)),
        "groups": explain.groups(4, 6, 2).picture(),
        "groups_transposed": explain.groups(4, 6, 2, transposed=True).picture(),
    }


def main() -> None:
    """The pictures, and the three methods as animations."""
    for name, picture in pictures().items():
        picture.save(IMAGES / f"explain_{name}.svg")
    for method in METHODS:
        explain.animate(UP, method=method).save(IMAGES / f"explain_{method}.gif")


if __name__ == "__main__":
    main()
