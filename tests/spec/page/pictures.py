"""Makes the pictures of the status page in docs/images/: `make pictures`, with Debian's chromium, chromium-driver and
fonts-inter.

It runs real daemons with real handoffs (scene.py) and looks at them with a real browser. It owns what is in a picture.
"""

import sys
import tempfile
from pathlib import Path

from tests.spec.daemon import rig
from tests.spec.page import remembering
from tests.spec.page.browser import DESKTOP, PHONE, Browser, chromium, missing
from tests.spec.page.scene import Scene, scene

PROJECT = Path(__file__).parents[3]
IMAGES = PROJECT / "docs" / "images"
PICTURES = {"light": (False, DESKTOP), "dark": (True, DESKTOP), "phone": (False, PHONE)}
PHONE_HEIGHT = 1240
"""One long look: head, states and a handoff's way."""


def make() -> None:
    """Make all of them."""
    rig.HANDOFFD = (sys.executable, "-P", remembering.__file__)
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, scene(Path(directory)) as played, chromium() as browser:
        played.play(patience_s=1.7)
        for name, (dark, size) in PICTURES.items():
            path = IMAGES / f"status-page-{name}.png"
            take(browser, played, dark, size, path)
            print(f"{path.relative_to(PROJECT)}: {path.stat().st_size >> 10} KiB", file=sys.stderr)


def take(browser: Browser, played: Scene, dark: bool, size: tuple[int, int], path: Path) -> None:
    """Take one picture, with a completed handoff opened."""
    browser.dress(dark=dark, size=size)
    browser.open(played.link())
    browser.until("the page is live", lambda: browser.text("#live") == "live" and browser.seen("#latency"))
    browser.click(f'tr[data-tid="{played.talk}"] a')
    browser.until("its story is told", lambda: browser.seen("#story svg"))
    browser.script("document.activeElement.blur(); scrollTo(0, 0)")
    height = browser.script("return document.documentElement.scrollHeight") if size == DESKTOP else PHONE_HEIGHT
    browser.dress(dark=dark, size=(size[0], height))
    browser.still()
    browser.driver.save_screenshot(str(path))


if __name__ == "__main__":
    why = missing()
    if why:
        sys.exit(f"pictures: {why}")
    make()
