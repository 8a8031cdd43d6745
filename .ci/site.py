"""``python .ci/site.py docs/_build/html``: the built pages hold together, on a phone too.

Each page is opened in headless Chromium at 360 and at 1280 pixels: none scrolls sideways as a
whole, and none writes an error to the console. Each link inside the site leads to a page, and
to a place on it, that is there. Ends with 1 and a list where something does not hold.
"""

import functools
import html.parser
import http.server
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from pathlib import Path

WIDTHS = (360, 1280)
# Pages that one Chromium opens, one after the other, in a frame.
AT_ONCE = 30
# Loads one page after the other, and leaves in itself how much wider each is than its frame.
HARNESS = """<!DOCTYPE html><body>
<iframe id="frame" style="border: 0; width: {width}px; height: 900px"></iframe>
<pre id="found"></pre><script>
const pages = {pages}, found = {{}}, frame = document.getElementById("frame");
function next() {{
  const page = pages.shift();
  if (!page) {{
    document.getElementById("found").textContent = "FOUND" + JSON.stringify(found);
    return;
  }}
  frame.onload = () => setTimeout(() => {{
    const root = frame.contentDocument.documentElement;
    const wide = [...frame.contentDocument.querySelectorAll("body *")]
      .filter(each => each.getBoundingClientRect().right > {width} + 1)
      .slice(0, 3).map(each => each.tagName + "." + each.className);
    found[page] = [root.scrollWidth - root.clientWidth, wide];
    next();
  }}, 60);
  frame.src = page;
}}
next();
</script>"""


class Page(html.parser.HTMLParser):
    """Links of a page, and the names of its places."""

    def __init__(self, text):
        super().__init__()
        self.links, self.names = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.add(value)
            if name == "id" or (tag == "a" and name == "name"):
                self.names.add(value)


def broken_links(root, pages):
    """Return a line for each link inside the site that leads nowhere."""
    found = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc or link == "#":
                continue
            target = path
            if parts.path:
                target = (path.parent / urllib.parse.unquote(parts.path)).resolve()
            if not target.is_file():
                found.append(f"{path.relative_to(root)}: no file for {link}")
                continue
            place = urllib.parse.unquote(parts.fragment)
            if place and target in pages and place not in pages[target].names:
                found.append(f"{path.relative_to(root)}: no place for {link}")
    return found


class Server(http.server.SimpleHTTPRequestHandler):
    """Files of the site, and the page that looks at them."""

    harness = ""

    def do_GET(self):
        if self.path != "/harness":
            return super().do_GET()
        body = self.harness.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return self.wfile.write(body)

    def log_message(self, *args):
        pass


def seen_in_chromium(chromium, port, names, width):
    """Return a line for each page that is too wide, and each error of the console."""
    Server.harness = HARNESS.format(
        width=width, pages=json.dumps(["/" + each for each in names])
    )
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
                *("--enable-logging=stderr", f"--user-data-dir={profile}"),
                *(f"--window-size={width + 40},1000", "--virtual-time-budget=600000"),
                f"http://127.0.0.1:{port}/harness",
            ],
            capture_output=True,
            text=True,
            timeout=600,
        )
    measured = re.search(r"FOUND(\{.*\})</pre>", done.stdout)
    if measured is None:
        return [f"{width} px: Chromium did not come to an end with {names[0]} and the next"]
    found = json.loads(html.unescape(measured[1]))
    lines = [
        f"{width} px: {page} is {over} px too wide, by {', '.join(wide)}"
        for page, (over, wide) in found.items()
        if over > 0
    ]
    errors = re.findall(r"CONSOLE.*?\] (.*)", done.stderr)
    return lines + [f"{width} px: console: {each}" for each in errors if "rror" in each]


def main(folder):
    root = Path(folder).resolve()
    paths = sorted(path for path in root.rglob("*.html") if "_static" not in path.parts)
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in paths}
    found = broken_links(root, pages)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("Chromium is not installed: links alone were looked at.")
    else:
        handler = functools.partial(Server, directory=root)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        names = [path.relative_to(root).as_posix() for path in paths]
        for width in WIDTHS:
            for start in range(0, len(names), AT_ONCE):
                chosen = names[start : start + AT_ONCE]
                found += seen_in_chromium(chromium, server.server_port, chosen, width)
        server.shutdown()
    print("\n".join(found) or f"{len(paths)} pages hold together")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
