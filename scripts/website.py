"""The site of docs/ in site/, by Zensical, with every link tried: `python scripts/website.py`.

Zensical's --strict sees links to pages and anchors that are not there. What it does not look at is tried here, in what
it built: pictures, files, the navigation, pages that no navigation leads to, and what would be fetched from elsewhere.
"""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parent.parent
SITE = ROOT / "site"


class Page(HTMLParser):
    """What a page links to, what it fetches, and the anchors that it has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.anchors |= {said[name] for name in ("id", "name") if name in said}
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
        elif (address := said.get("src") or said.get("href")) is not None:
            self.fetched.append(address)


def broken(site: Path) -> list[str]:
    """A line for each link that leads nowhere, each fetch from elsewhere, and each page that the navigation lacks."""
    pages = {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}
    found = []
    for file, page in pages.items():
        where = file.relative_to(site)
        found += [f"{where}: fetches {each}" for each in page.fetched if urlsplit(each).netloc]
        for link in page.links + page.fetched:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = file.parent.joinpath(unquote(parts.path)).resolve() if parts.path else file
            if not target.is_relative_to(site) or not target.is_file():
                found.append(f"{where}: no {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{where}: no anchor {link}")
    reached = {site / "index.html", *(site / urlsplit(link).path for link in pages[site / "index.html"].links)}
    return found + [f"{file.relative_to(site)}: not in zensical.toml's nav" for file in sorted(set(pages) - reached)]


def main() -> int:
    """0 where the site was built and all its links lead somewhere."""
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
        return code
    problems = sorted(set(broken(SITE)))
    print("\n".join(problems) or f"{len(list(SITE.rglob('*.html')))} pages, all links lead somewhere")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
