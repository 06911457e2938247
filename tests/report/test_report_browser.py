from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from clsp.report import build_report, build_report_of_several

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")

QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --enable-logging=stderr --virtual-time-budget=4000 --dump-dom"
)
POINT = """<script>
setTimeout(() => {
  const point = (svg, x, y) => {
    const box = svg.getBoundingClientRect();
    const at = {clientX: box.left + x * box.width / 600, clientY: box.top + y * box.height / 500};
    svg.dispatchEvent(new PointerEvent("pointermove", at));
    return document.getElementById("tip").textContent;
  };
  document.body.dataset.curve = point(document.querySelector(".curves"), 300, 250);
  const data = JSON.parse(document.querySelector("script.points").textContent);
  const first = data.labels.indexOf(3);
  document.querySelectorAll(".chips button")[3].click();
  document.body.dataset.dimmed = document.querySelectorAll(".map path.dim").length;
  const place = [8 + 584 * data.x[first], 8 + 484 * (1 - data.y[first])];
  document.body.dataset.dot = point(document.querySelector(".map"), ...place);
  document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;
}, 200);
</script></body>"""


def dump(page: Path, folder: Path, width: int = 1280) -> tuple[str, str]:
    """Return the page's DOM after its scripts, and what the browser's console said."""
    flags = [*QUIET.split(), f"--user-data-dir={folder}", f"--window-size={width},1000"]
    command = [str(CHROMIUM), *flags, page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_page_shows_all_pictures_without_an_error(run: Path, tmp_path: Path) -> None:
    dom, console = dump(build_report(run), tmp_path)
    assert 'data-broken="0"' in dom
    assert dom.count("<img ") == 5
    assert console == ""


ENLARGE = """<script>
setTimeout(() => {
  const picture = document.querySelector("figure > img[role=button]");
  picture.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"}));
  document.body.dataset.opened = document.querySelectorAll("dialog[open] img").length;
  document.querySelector("dialog button").click();
  document.body.dataset.closed = document.querySelectorAll("dialog[open]").length;
}, 200);
</script></body>"""


def test_a_picture_is_enlarged_and_closed_again(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "enlarged.html"
    page.write_text(build_report(run).read_text().replace("</body>", ENLARGE))
    dom, console = dump(page, tmp_path / "profile")
    assert 'data-opened="1"' in dom
    assert 'data-closed="0"' in dom
    assert console == ""


def test_pointing_shows_values(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "pointed.html"
    page.write_text(build_report(run).read_text().replace("</body>", POINT))
    dom, console = dump(page, tmp_path / "profile")
    body = dom[dom.index("<body") :].split(">", 1)[0]
    told = dict(re.findall(r'data-(\w+)="(.*?)"', body))
    assert told["curve"].startswith("step ")
    assert told["dot"].startswith("3test/")
    assert told["dimmed"] == "9"
    assert console == ""


@pytest.mark.parametrize("width", [500, 1280])
def test_page_does_not_scroll_sideways(run: Path, tmp_path: Path, width: int) -> None:
    page = tmp_path / "narrow.html"
    page.write_text(build_report_of_several([run], page).read_text().replace("</body>", POINT))
    dom, _ = dump(page, tmp_path / "profile", width)
    assert 'data-wide="false"' in dom
