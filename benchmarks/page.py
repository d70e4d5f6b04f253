"""How soon the page shows coloured nodes, in a browser that has never seen it.

    felsina serve --port 3000
    python -m benchmarks.page http://127.0.0.1:3000 [--loads 20]

A view counts when the nodes have been painted: the later of the page's own mark, set in the frame
after they were drawn, and the browser's first contentful paint. WebGL is done in software.
"""

from __future__ import annotations

import argparse
import os
import shutil
from statistics import median

from playwright.sync_api import Browser, sync_playwright

from benchmarks.tables import head, row

FLAGS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
TIMES = """() => {
  const at = name => performance.getEntriesByName(name)[0]?.startTime;
  const of = kind => performance.getEntriesByType(kind);
  const all = [...of('navigation'), ...of('resource')];
  return {first: Math.max(at('nodes'), at('first-contentful-paint')), map: at('map'),
    requests: all.length, bytes: all.reduce((sum, one) => sum + one.transferSize, 0)};
}"""


def load(browser: Browser, url: str, warm: bool) -> dict[str, float]:
    """Times (ms), requests and bytes of one load; warm, of the second in the same browser."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    for _ in range(1 + warm):
        page.goto(url)
        page.wait_for_selector(".sketch", state="detached", timeout=120_000)
    found = page.evaluate(TIMES)
    context.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--loads", type=int, default=20)
    asked = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        load(browser, asked.url, warm=False)
        head(
            "visit",
            "loads",
            "nodes: least",
            "median",
            "most (ms)",
            "MapLibre (ms)",
            "requests",
            "kB",
        )
        for name, warm in (("first", False), ("second", True)):
            found = [load(browser, asked.url, warm) for _ in range(asked.loads)]
            first = [one["first"] for one in found]
            times = [min(first), median(first), max(first), median(one["map"] for one in found)]
            size = median(one["bytes"] for one in found) / 1000
            row(
                name,
                len(found),
                *(f"{ms:.0f}" for ms in times),
                found[0]["requests"],
                f"{size:.0f}",
            )
        browser.close()
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
