"""The story of a layer as an animation: a GIF, or a page that needs nothing else."""

from __future__ import annotations

import dataclasses
import html
import io
import json
from pathlib import Path
from typing import Any, Literal

from . import raster, svg
from .draw import background, foreground, stage
from .layer import Layer
from .scene import COLOURS, Mark, Scene, mixed
from .story import Method, sums, tell

MOST_FRAMES = 120


@dataclasses.dataclass(frozen=True)
class Animation:
    """A picture whose foreground changes: one scene behind, one in front for each step."""

    behind: Scene
    steps: tuple[tuple[Mark, ...], ...]
    captions: tuple[str, ...]

    def scene(self, index: int) -> Scene:
        """One step as a picture of its own."""
        marks = (*self.behind.marks, *self.steps[index])
        return dataclasses.replace(self.behind, marks=marks, description=self.captions[index])

    def gif(
        self, theme: Literal["light", "dark"] = "light", *, seconds: float = 0.7, scale: float = 1.0
    ) -> bytes:
        """The animation as a GIF that repeats; needs matplotlib and Pillow.

        Args:
          theme: "light" or "dark"; a GIF can't follow the viewer's preference.
          seconds: how long a step is shown; the last one three times that.
          scale: pixels to a unit of the picture.

        Returns:
          The file's bytes.
        """
        from PIL import Image

        def pixels(index: int) -> Any:
            return Image.open(io.BytesIO(raster.png(self.scene(index), theme, scale))).convert("RGB")

        # One palette for all frames, so that nothing flickers: the theme's colours, and between each and the
        # paper what smooth edges need.
        colours = COLOURS[theme]
        parts = {
            mixed(colour, colours["paper"], part) for colour in colours.values() for part in (1, 0.7, 0.35)
        }
        palette = Image.new("P", (1, 1))
        palette.putpalette([int(c[i : i + 2], 16) for c in sorted(parts) for i in (1, 3, 5)])
        plain = Image.Dither.NONE
        frames = [pixels(i).quantize(palette=palette, dither=plain) for i in range(len(self.steps))]
        shown = [round(1000 * seconds)] * (len(frames) - 1) + [round(3000 * seconds)]
        buffer = io.BytesIO()
        frames[0].save(
            buffer, "GIF", save_all=True, append_images=frames[1:], duration=shown, loop=0, optimize=True
        )
        return buffer.getvalue()

    def html(self) -> str:
        """The animation as one HTML file: buttons, a slider and the arrow keys step through it."""
        picture = svg.svg(dataclasses.replace(self.behind, marks=self.behind.marks), "auto")
        layers = "".join(
            f'<g class="step"{"" if i == 0 else " hidden"}>{"".join(svg.elements(marks, "auto"))}</g>'
            for i, marks in enumerate(self.steps)
        )
        return _PAGE.format(
            title=html.escape(self.behind.title.replace("\n", ", ")),
            picture=picture.replace("</svg>", layers + "</svg>"),
            captions=json.dumps(self.captions).replace("<", "\\u003c"),
            last=len(self.steps) - 1,
            first=html.escape(self.captions[0]),
        )

    def save(self, path: str | Path, theme: Literal["light", "dark"] = "light") -> None:
        """Writes .gif or .html; a page follows the viewer's preference and ignores `theme`."""
        path = Path(path)
        if path.suffix == ".html":
            path.write_text(self.html(), encoding="utf-8")
        elif path.suffix == ".gif":
            path.write_bytes(self.gif(theme))
        else:
            raise ValueError(f"{path} must end in .gif or .html; pictures can be .svg and .png.")


def animate(layer: Layer, *, method: Method | None = None) -> Animation:
    """An animation of a layer, step by step.

    Args:
      layer: what `explain.layer` returned.
      method: of a transposed convolution: "overlap_add" (the default), "zero_insertion" or "subpixel".

    Returns:
      The animation, with `gif`, `html` and `save`.

    Raises:
      ValueError: as `draw`, and for more steps than one can watch.

    Example:
      >>> from jaxconv.explain import layer
      >>> animate(layer(5, 3, dilation=2)).captions
      ('output 0 = w0·x0 + w1·x2 + w2·x4',)
    """
    story = tell(layer, method)
    if len(story.steps) > MOST_FRAMES:
        raise ValueError(
            f"that would be {len(story.steps)} steps; choose sizes and channels with at most {MOST_FRAMES}."
        )
    laid, totals = stage(story), sums(story)
    behind = Scene(laid.width, laid.height, tuple(background(laid)), story.title, "")
    steps = tuple(tuple(foreground(laid, i, total)) for i, total in enumerate(totals))
    return Animation(behind, steps, tuple(step.caption for step in story.steps))


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 60rem; padding: 0 1rem;
  background: light-dark(#fff, #14181e); color: light-dark(#1c2128, #eef1f5) }}
svg {{ display: block; width: 100%; height: auto; max-height: 75vh }}
[hidden] {{ display: none }}
form {{ display: flex; gap: .5rem; align-items: center; flex-wrap: wrap }}
input {{ flex: 1; min-width: 8rem }}
button {{ font: inherit; padding: .3rem .8rem }}
#caption {{ position: absolute; clip-path: inset(50%) }} /* the picture has it; this is for screen readers */
:focus-visible {{ outline: 3px solid #c45500; outline-offset: 2px }}
</style>
<main>
{picture}
<form aria-label="Steps">
<button type="button" id="play">Play</button>
<button type="button" id="back" aria-label="Previous step">&#9664;</button>
<input type="range" id="at" min="0" max="{last}" value="0" aria-label="Step">
<button type="button" id="next" aria-label="Next step">&#9654;</button>
</form>
<p id="caption" role="status" aria-live="polite">{first}</p>
</main>
<script>
const captions = {captions}, steps = document.querySelectorAll(".step"), at = document.getElementById("at");
const play = document.getElementById("play"), count = captions.length;
let timer = null;
function show(i) {{
  i = (i + count) % count;
  steps.forEach((step, n) => n === i ? step.removeAttribute("hidden") : step.setAttribute("hidden", ""));
  at.value = i;
  at.setAttribute("aria-valuetext", captions[i]);
  document.getElementById("caption").textContent = captions[i];
}}
function run(on) {{
  clearInterval(timer);
  timer = on ? setInterval(() => show(+at.value + 1), 900) : null;
  play.textContent = on ? "Pause" : "Play";
  document.getElementById("caption").setAttribute("aria-live", on ? "off" : "polite");
}}
play.onclick = () => run(!timer);
document.getElementById("back").onclick = () => {{ run(false); show(+at.value - 1); }};
document.getElementById("next").onclick = () => {{ run(false); show(+at.value + 1); }};
at.oninput = () => {{ run(false); show(+at.value); }};
run(count > 1 && !matchMedia("(prefers-reduced-motion: reduce)").matches);
show(0);
</script></html>
"""
