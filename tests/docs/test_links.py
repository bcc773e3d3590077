"""Every link inside the repository leads somewhere, and every page can be reached."""

import pytest

from docs.pages import EVERYTHING, PAGES, ROOT, anchors, read_links, short


def inner(page):
    return [link for link in read_links(page) if not link.startswith(("http://", "https://", "mailto:"))]


@pytest.mark.parametrize("page", EVERYTHING, ids=short)
def test_links_lead_somewhere(page):
    broken = []
    for link in inner(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in inner(page) if link[0] != "#"]
    assert [short(page) for page in PAGES if page not in seen] == []
