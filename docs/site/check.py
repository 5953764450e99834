"""Looks through a built site for what a reader would stumble over: `python docs/site/check.py build/site`.

It owns three promises: every link inside the site leads to a page that is there, every `#anchor` to a place on it, and
nothing is loaded from another host. Links to other hosts are a reader's own step and are not followed.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urldefrag, urlsplit

LOADED = {
    "img": "src",
    "script": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}
# A page may name its neighbours and its search; only what a browser fetches by itself counts as loaded.
LOADING_RELATIONS = frozenset({"stylesheet", "icon", "preload", "modulepreload", "manifest"})
IN_STYLE = re.compile(r"url\(\s*['\"]?(?!data:)([^'\")]+)|@import\s+['\"]([^'\"]+)")


class Reference(NamedTuple):
    """Something a page points at; `is_loaded` if a browser fetches it without being asked."""

    address: str
    is_loaded: bool


class Page(HTMLParser):
    """One page's anchors and references."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.references: list[Reference] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.anchors.update(given[name] for name in ("id", "name") if given.get(name))
        if tag == "a" and given.get("href"):
            self.references.append(Reference(given["href"], is_loaded=False))
        if tag == "link" and LOADING_RELATIONS & set(given.get("rel", "").split()):
            self.references.append(Reference(given["href"], is_loaded=True))
        if given.get(LOADED.get(tag, "")):
            self.references.append(Reference(given[LOADED[tag]], is_loaded=True))


def complaints(site: Path) -> Iterator[str]:
    """Yield one line for each thing that is wrong in a site."""
    pages = {path.resolve(): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    if not pages:
        yield f"{site} holds no page"
    for path, page in pages.items():
        for reference in page.references:
            wrong = _wrong(reference, path, pages)
            if wrong:
                yield f"{path.relative_to(site.resolve())}: {reference.address}: {wrong}"
    for sheet in sorted(site.rglob("*.css")):
        for found in IN_STYLE.findall(sheet.read_text()):
            address = next(filter(None, found))
            if urlsplit(address).netloc:
                yield f"{sheet.relative_to(site)}: {address}: loaded from another host"


def _wrong(reference: Reference, path: Path, pages: dict[Path, Page]) -> str:
    """Return what is wrong with a reference, or nothing."""
    address, anchor = urldefrag(reference.address)
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return "loaded from another host" if reference.is_loaded and parts.scheme != "data" else ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return "leads nowhere"
    if anchor and target in pages and unquote(anchor) not in pages[target].anchors:
        return "no such place on that page"
    return ""


def main(site: Path) -> int:
    """Print what is wrong; the exit code tells whether anything is."""
    found = list(complaints(site))
    for line in found:
        print(line, file=sys.stderr)
    print(f"{site}: {len(list(site.rglob('*.html')))} pages, {len(found) or 'no'} dead links")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
