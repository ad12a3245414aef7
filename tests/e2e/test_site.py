"""The site: every link leads somewhere, the search finds, nothing is loaded from elsewhere."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from tests.conftest import ROOT
from tests.e2e.browser import Complaints, opened, overflows

pytestmark = pytest.mark.slow

pytest.importorskip("furo", reason="Sphinx and furo are not installed; make site installs them")


def build(folder, *options, check=True):
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--fresh-env", "--quiet"]
    command += ["--fail-on-warning", "--keep-going", "--conf-dir", ROOT / "docs" / "site", *options]
    command += ["--doctree-dir", folder / "doctrees"]
    source = ROOT if check else folder
    done = subprocess.run(
        [*command, source, folder / "site"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
        timeout=300,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout
    return done


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    return folder / "site"


class Links(HTMLParser):
    """Links and names of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.names = [], {""}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.names.add(given.get("id"))
        self.links += [(tag, given[key]) for key in ("href", "src") if given.get(key)]


def test_every_link_leads_to_a_page_and_a_place_on_it(site):
    pages = {path: Links(path.read_text()) for path in site.rglob("*.html")}
    assert {"index.html", "gallery.html", "claims.html", "api.html", "draw.py.html"} <= {
        path.name for path in pages
    }
    lost = []
    for path, page in pages.items():
        for tag, link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                assert tag == "a" or url.scheme == "data", f"{path.name} loads {link}"
                continue
            to = (path.parent / unquote(url.path)).resolve() if url.path else path
            named = unquote(url.fragment) in pages[to].names if to in pages else to.is_file()
            lost += [] if named else [f"{path.relative_to(site)}: {link}"]
    assert lost == []


def test_the_reference_has_every_public_name(site):
    import lipbounds

    names = Links((site / "docs" / "site" / "api.html").read_text()).names
    assert {f"lipbounds.{name}" for name in lipbounds.__all__} <= names


def test_a_link_to_nowhere_fails_the_build(tmp_path):
    (tmp_path / "README.md").write_text("# Title\n\n[gone](docs/gone.md) [lost](scripts/lost.py)\n")
    done = build(tmp_path, "-D", "extensions=myst_parser", check=False)
    assert done.returncode != 0
    assert "docs/gone.md" in done.stdout
    assert "scripts/lost.py" in done.stdout


def test_pages_open_from_the_disk_and_the_search_finds(site):
    with opened() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        complaints = Complaints(page)
        for name in ("index.html", "docs/gallery.html", "docs/claims.html", "docs/site/api.html"):
            page.goto((site / name).as_uri())
            assert not overflows(page), name
        page.goto((site / "search.html").as_uri() + "?q=autolip")
        page.locator("#search-results li a", has_text="All figures").wait_for(timeout=10_000)
        assert complaints == []
