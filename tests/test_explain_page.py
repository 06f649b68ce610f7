"""The page to play with: its numbers are the library's, and every control of it works in a browser."""

import io
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jaxconv import cli, explain
from jaxconv.explain.scene import COLOURS
from jaxconv.explain.shape import formula
from jaxconv.explain.story import tell
from tests.browser import CHROMIUM, DRIVER, Browser, browser

NODE = shutil.which("node")
LOGIC = resources.files("jaxconv.explain") / "html" / "logic.js"
METHODS = ("overlap_add", "zero_insertion", "subpixel")
needs_node = pytest.mark.skipif(
    NODE is None, reason="runs the page's arithmetic in node, which is not installed"
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="shows the page in chromium by chromedriver, which are not installed",
)


def parameters(seed: int) -> dict[str, Any]:
    """What the sliders can say; what the library refuses too."""
    rnd = random.Random(seed)
    rank, groups, transposed = rnd.randint(1, 3), rnd.choice([1, 1, 2, 3]), rnd.random() < 0.5
    lo = rnd.choice([0, rnd.randint(0, 6)])
    return {
        "rank": rank,
        "size": rnd.randint(1, 16 if rank < 3 else 6),
        "kernel": rnd.randint(1, 7),
        "stride": rnd.randint(1, 4),
        "lo": lo,
        "hi": rnd.choice([lo, rnd.randint(0, 6)]),
        "dilation": rnd.choice([1, 1, 2, 3, 4]),
        "groups": groups,
        "inChannels": groups * rnd.randint(1, 8 // groups) + (rnd.random() < 0.1),
        "outChannels": groups * rnd.randint(1, 8 // groups),
        "transposed": transposed,
        "outputPadding": rnd.choice([0, 1, rnd.randint(0, 3)]) if transposed else 0,
        "method": rnd.choice(METHODS),
    }


def described(p: dict[str, Any]) -> Any:
    """The library's layer, or None where it refuses or nothing comes out."""
    try:
        found = explain.layer(
            (p["size"],) * p["rank"],
            p["kernel"],
            stride=p["stride"],
            padding=((p["lo"], p["hi"]),) * p["rank"],
            dilation=p["dilation"],
            groups=p["groups"],
            in_channels=p["inChannels"],
            out_channels=p["outChannels"],
            transposed=p["transposed"],
            output_padding=p["outputPadding"],
        )
    except ValueError:
        return None
    return found if all(found.out) else None


def wanted(p: dict[str, Any]) -> dict[str, Any] | None:
    """What the library says, in the page's words."""
    if (layer := described(p)) is None:
        return None
    return {
        "error": "",
        "out": layer.out[0],
        "formula": formula(layer, 0).split("\n"),
        "kernelShape": list(layer.kernel_shape),
        "parameters": layer.parameters,
        "multiplyAdds": layer.multiply_adds,
        "field": layer.field[0],
        "jump": str(layer.jump[0]),
        "coverage": list(layer.coverage[0]),
        "checkerboard": layer.checkerboard,
        "calls": {c.library: {"code": c.code, "note": c.note} for c in explain.calls(layer)},
    }


def compare(sweep: list[dict[str, Any]], got: list[dict[str, Any]]) -> int:
    """Asserts that the page says what the library says; returns how many layers were refused."""
    refused = 0
    for p, mine in zip(sweep, got, strict=True):
        library = wanted(p)
        assert bool(mine["error"]) is (library is None), (p, mine["error"])
        if library is None:
            refused += 1
        else:
            assert mine == library, p
    return refused


def node(script: str, data: Any) -> Any:
    """The JSON that a script makes of `data`, with the page's logic as `page`."""
    assert NODE is not None
    head = (
        f"const page = require({json.dumps(str(LOGIC))}), data = JSON.parse(require('fs').readFileSync(0));"
    )
    run = subprocess.run(
        [NODE, "-e", f"{head} process.stdout.write(JSON.stringify({script}))"],
        input=json.dumps(data),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)


@needs_node
def test_numbers_and_code_are_the_librarys() -> None:
    sweep = [parameters(seed) for seed in range(3000)]
    refused = compare(sweep, node("data.map(page.compute)", sweep))
    assert 300 < refused < 1500  # both kinds are there


@needs_node
def test_steps_are_the_librarys() -> None:
    """Along one axis: the cells drawn, those with data, and what every step touches, for each method."""
    sweep = [
        p | {"rank": 1, "groups": 1, "inChannels": 1, "outChannels": 1} for p in map(parameters, range(400))
    ]
    sweep = [p for p in sweep if described(p)]
    script = (
        "data.map(page.story).map(s => [s.source, s.target].map(t => [t.range, [...t.real]])"
        ".concat([[...(s.gather ? s.target : s.source).real].map((_, i, all) =>"
        " s.gather ? s.reads(all[i]) : s.writes(i))]))"
    )
    for p, (source, target, steps) in zip(sweep, node(script, sweep), strict=True):
        story = tell(described(p), p["method"] if p["transposed"] else None)
        for side, (cells, data) in ((story.source, source), (story.target, target)):
            assert (cells, data) == (list(side.ranges[0]), list(side.data[0])), p
        ours = {}
        for step in story.steps:
            one, many = (step.reads, step.writes) if story.patches else (step.writes, step.reads)
            [(_, (at,))] = one
            ours[at] = sorted((k, i) for (_, (i,)), (k,) in many.items())
        assert [sorted(map(tuple, touched)) for touched in steps] == [ours[at] for at in sorted(ours)], p


def test_the_comparison_can_fail() -> None:
    p = parameters(0) | {"inChannels": 3, "outChannels": 3, "groups": 1, "lo": 3, "hi": 3}
    right = wanted(p)
    assert right is not None
    assert compare([p], [right]) == 0
    with pytest.raises(AssertionError):
        compare([p], [right | {"multiplyAdds": right["multiplyAdds"] + 1}])


def test_one_file_without_network(tmp_path: Path) -> None:
    assert cli.main(["page", "--out", str(tmp_path / "a.html")]) == 0
    text = (tmp_path / "a.html").read_text()
    assert text == explain.page()
    assert "http:" not in text
    assert "https:" not in text
    assert not [
        mark for mark in ("/*STYLE*/", "/*LOGIC*/", "/*VIEW*/", "/*LIGHT*/", "/*DARK*/") if mark in text
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(explain.page())
    with browser() as session:
        session.open(file)
        yield session


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


@needs_browser
def test_every_slider(page: Browser) -> None:
    """From its least value to its largest, by keyboard: what is shown is what the library says."""
    page.view(1400)
    state = page.run(
        "Object.assign(state, START, {transposed: true, stride: 2, size: 3}); update(); return state"
    )
    for name, (low, high) in page.run("return LIMITS").items():
        page.run(
            "Object.assign(state, arguments[0]); update(); document.getElementById(arguments[1]).focus()",
            state,
            name,
        )
        page.press("\ue011")  # Home
        for value in range(low, high + 1):
            now, shown, summary, code, bad = page.run(
                "return [state, $(arguments[0] + '-value').textContent, $('summary').textContent,"
                "$('code').textContent, $('summary').classList.contains('error')]",
                name,
            )
            assert now[name] == int(shown) == value
            layer = described(now)
            assert bad is (layer is None)
            if layer:
                assert summary.startswith(
                    f"{' × '.join(map(str, layer.size))} → {' × '.join(map(str, layer.out))},"
                )
                assert all(call.code.split("\n")[0] in code for call in explain.calls(layer))
            page.press("\ue014")  # right
    assert page.log() == []


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [380, 1400])
def test_both_themes_narrow_and_wide(page: Browser, width: int, dark: bool) -> None:
    page.run("delete document.documentElement.dataset.theme")
    page.view(width, dark=dark)
    for preset in page.run("return Object.keys(PRESETS)"):
        page.run(
            "$('preset').value = arguments[0]; $('preset').dispatchEvent(new Event('change')); run(false);",
            preset,
        )
        assert page.run("return document.documentElement.scrollWidth") == width, preset
        drawn, steps = page.run("return [document.querySelectorAll('#picture rect').length, scene.count]")
        assert drawn > steps > 1
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    assert shown.getpixel((2, shown.height - 2)) == rgb(COLOURS["dark" if dark else "light"]["paper"])
    assert len(shown.getcolors(2**24)) > 30
    page.run("$('theme').click()")
    assert Image.open(io.BytesIO(page.screenshot())).convert("RGB").getpixel((2, 2)) == rgb(
        COLOURS["light" if dark else "dark"]["paper"]
    )
    assert page.log() == []


@needs_browser
def test_keyboard_and_screen_reader(page: Browser) -> None:
    """Every control has a name, tab reaches each of them, and what changes is announced."""
    page.run("Object.assign(state, START, {transposed: true}); update(); document.activeElement.blur()")
    names = page.cdp("Accessibility.getFullAXTree")["nodes"]
    roles = {"slider", "button", "radio", "combobox"}
    controls = [n for n in names if n.get("role", {}).get("value") in roles and not n.get("ignored")]
    assert (
        len(controls) >= 11 + 1 + 4 + 5 + 2 + 1
    )  # sliders and steps, buttons, kinds and methods, the examples
    assert [n for n in controls if not n.get("name", {}).get("value")] == []
    reached = []
    for _ in range(60):
        page.press("\ue004")  # Tab
        reached.append(page.run("return document.activeElement.id || document.activeElement.textContent"))
    for name in [*page.run("return Object.keys(NAMES)"), "preset", "theme", "play", "back", "step", "next"]:
        assert name in reached, name
    page.run("$('step').focus(); $('step').value = 0; paint()")
    before = page.run("return $('caption').textContent")
    page.press("\ue014")
    after = page.run("return $('caption').textContent")
    assert before != after
    assert after in page.run("return $('step').getAttribute('aria-valuetext')")
    assert (
        page.run("return ['summary', 'caption'].map((id) => $(id).getAttribute('aria-live'))")
        == ["polite"] * 2
    )


@needs_browser
def test_animation_page_steps_through(tmp_path: Path, page: Browser) -> None:
    animation = explain.animate(explain.layer(5, 3, padding=1))
    animation.save(tmp_path / "a.html")
    page.open(tmp_path / "a.html")
    page.run("run(false); at.focus(); show(0)")
    seen = []
    for _ in animation.captions:
        seen.append(page.run("return document.getElementById('caption').textContent"))
        assert page.run("return [...steps].filter((s) => s.getBoundingClientRect().width > 0).length") == 1
        page.press("\ue014")
    assert tuple(seen) == animation.captions
    assert page.log() == []
