"""A browser without a window, for tests of pages; tests are skipped where there is none."""

import shutil
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def opened():
    """The browser. Skips with the reason where it or Playwright is missing."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no browser; on Debian install chromium")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; make site installs it"
    )
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Complaints(list):
    """What a page says on its console, its errors, and what it wants from other hosts."""

    def __init__(self, page):
        page.on("console", lambda message: self.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("request", lambda asked: self._note(asked.url))

    def _note(self, url):
        if not url.startswith(("file:", "data:", "blob:")):
            self.append(url)


def overflows(page):
    """Whether a reader has to scroll sideways."""
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")
