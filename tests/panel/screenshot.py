"""Take a picture of a page in headless Chromium: ``python -m tests.panel.screenshot URL OUT.png``."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ARGUMENTS = (
    "--no-sandbox",  # containers run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str:
    """Return the path of an installed Chromium.

    Raises
    ------
    SystemExit
        If there is none.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise SystemExit("No chromium on the PATH; on Debian: apt-get install chromium")
    return found


@contextmanager
def browser_page(width: int, height: int, *, dark: bool = False, zoom: float = 1.0) -> Iterator[Page]:
    """Open a page of a fresh headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        try:
            yield browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                device_scale_factor=zoom,
            )
        finally:
            browser.close()


def take(url: str, out: Path, *, width: int, height: int, dark: bool, full: bool, zoom: float) -> None:
    """Open `url`, wait until it is live and its charts are drawn, and write the picture."""
    with browser_page(width, height, dark=dark, zoom=zoom) as page:
        page.goto(url)
        page.wait_for_selector("#link[data-link=live]")
        page.wait_for_selector("[data-chart] > .pending", state="detached")
        page.screenshot(path=str(out), full_page=full)


def main() -> None:
    """Read the command line and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--full", action="store_true", help="the whole page, not only the first screen")
    parser.add_argument("--zoom", type=float, default=1.0, help="pixels per CSS pixel")
    options = parser.parse_args()
    take(**vars(options))


if __name__ == "__main__":
    main()
