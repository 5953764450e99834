"""The documentation as a site: pages made from the code are fresh, every page is listed, and its checker checks."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
MADE = {"make_cli": "cli-reference.md", "make_http": "http-reference.md"}


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = loaded
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize("maker", MADE)
def test_a_page_made_from_the_code_is_what_the_code_says(maker: str) -> None:
    assert (DOCS / MADE[maker]).read_text() == module(DOCS / f"{maker}.py").page(), "run: make pages"


def test_the_pictures_are_what_their_script_draws() -> None:
    pictures = module(DOCS / "make_pictures.py").PICTURES
    drawn = {path.stem: path.read_text() for path in (DOCS / "pictures").glob("*.svg")}
    assert drawn == {name: draw() for name, draw in pictures.items()}, "run: make pages"


def test_every_page_is_in_the_list_of_the_site() -> None:
    listed = set(re.findall(r"^([a-z0-9-]+)$", (DOCS / "index.md").read_text(), re.MULTILINE))
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert pages - listed == set(), "name the page below one of the captions of docs/index.md"


check = module(DOCS / "site/check.py")


def site(place: Path, **pages: str) -> Path:
    for name, body in pages.items():
        (place / f"{name}.html").write_text(f"<!doctype html><title>{name}</title><h1 id='top'>x</h1>{body}")
    return place


def test_a_site_without_fault_passes(tmp_path: Path) -> None:
    body = "<a href='two.html#top'>two</a><a href='https://example.org'>out</a><a href='#top'>up</a>"
    assert list(check.complaints(site(tmp_path, one=body, two="<img src='data:image/png;base64,AA'>"))) == []


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<a href='three.html'>x</a>", "one.html: three.html: leads nowhere"),
        ("<a href='two.html#bottom'>x</a>", "one.html: two.html#bottom: no such place on that page"),
        ("<a href='#bottom'>x</a>", "one.html: #bottom: no such place on that page"),
        ("<img src='gone.svg'>", "one.html: gone.svg: leads nowhere"),
        ("<script src='https://example.org/x.js'>", "one.html: https://example.org/x.js: loaded from another host"),
        ("<link rel='stylesheet' href='//example.org/x'>", "one.html: //example.org/x: loaded from another host"),
    ],
)
def test_a_fault_is_told_with_its_page(body: str, complaint: str, tmp_path: Path) -> None:
    assert list(check.complaints(site(tmp_path, one=body, two=""))) == [complaint]


def test_a_style_sheet_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    site(tmp_path, one="")
    (tmp_path / "style.css").write_text("a { background: url(x.png) } @import 'https://example.org/font.css';")
    assert list(check.complaints(tmp_path)) == ["style.css: https://example.org/font.css: loaded from another host"]


def test_an_empty_site_is_a_fault(tmp_path: Path) -> None:
    assert len(list(check.complaints(tmp_path))) == 1


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    if importlib.util.find_spec("sphinx") is None:
        pytest.skip("needs sphinx: `make docs` brings it")
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "-c",
            DOCS / "site",
            "-d",
            tmp_path / "x",
            PROJECT,
            tmp_path / "site",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
    assert list(check.complaints(tmp_path / "site")) == []
