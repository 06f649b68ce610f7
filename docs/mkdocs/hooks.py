"""Joins the repository's other pages to the site: what a page links to outside docs/ becomes a part of it.

A Markdown file (the benchmarks' README, an example's) becomes a page under `repository/`, with its own links
treated alike; any other file (raw samples, sources) is copied there as it is. So one set of links serves both
a reader of the repository and one of the site.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LINK = r"(!?\[(?:[^\]`]|`[^`\n]*`)*\]\()([^)#\s]+)(#[^)\s]*)?\)"
LINK_OR_CODE = re.compile(rf"{LINK}|```.*?```|`[^`\n]*`", re.DOTALL)
# Pages whose place in the site is not repository/PATH.
PLACES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
# A folder's README.md would be its index.html, which the theme takes for the title of a section.
PLACES |= {
    str(p.relative_to(ROOT)): f"repository/{p.parent.relative_to(ROOT)}.md"
    for p in [ROOT / "benchmarks" / "README.md", *ROOT.glob("examples/*/README.md")]
}


def on_files(files, config):
    """Adds the pages with a place of their own, and whatever they and those of docs/ lead to."""
    waiting = [*PLACES, *(str(p.relative_to(ROOT)) for p in DOCS.rglob("*.md"))]
    seen = set(waiting)
    while waiting:
        page = waiting.pop()
        text = (ROOT / page).read_text()
        for target in targets(page, text):
            if target not in seen and (ROOT / target).is_file():
                seen.add(target)
                waiting += [target] if target.endswith(".md") else []
    for path in sorted(seen):
        if not path.startswith("docs/"):
            files.append(added(path, config))
    return Files(files)


def added(path, config):
    """A file of the repository as one of the site."""
    if path.endswith(".md"):
        return File.generated(config, place(path), content=(ROOT / path).read_text())
    return File.generated(config, place(path), abs_src_path=str(ROOT / path))


def on_page_markdown(markdown, page, **_):
    """Turns the links between files of the repository into links between pages."""
    source = origin(page.file.src_uri)
    here = posixpath.dirname(page.file.src_uri)

    def turned(match):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        if "://" in match[2] or match[2].startswith("mailto:") or not (ROOT / target).exists():
            return match[0]
        if (ROOT / target).is_dir():
            return match[1].lstrip("!")[1:-2]  # a folder has no page: its name alone
        return f"{match[1]}{posixpath.relpath(place(target), here or '.')}{match[3] or ''})"

    return outside_code(markdown, turned)


def place(path):
    """Where a file of the repository is in the site."""
    return path.removeprefix("docs/") if path.startswith("docs/") else PLACES.get(path, f"repository/{path}")


def origin(uri):
    """The file of the repository that a page of the site comes from."""
    back = {uri: path for path, uri in PLACES.items()}
    return back.get(uri, uri.removeprefix("repository/") if uri.startswith("repository/") else f"docs/{uri}")


def targets(page, text):
    """The files of the repository that a page links to."""
    found = []
    outside_code(text, lambda link: found.append(link[2]) or link[0])
    folder = posixpath.dirname(page)
    return [posixpath.normpath(posixpath.join(folder, target)) for target in found if "://" not in target]


def outside_code(text, change):
    """Changes the links; code is none."""
    return LINK_OR_CODE.sub(lambda match: change(match) if match[2] else match[0], text)
