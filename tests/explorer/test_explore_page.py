"""The page in a browser: clicks, filters, the selection and its CSV file; with a map, and without WebGL."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from clsp import explorer
from clsp.evaluation.embeddings import Embeddings
from clsp.images.imageset import Images, Split
from clsp.text import csv_text
from workbench import clsp, finished

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")

QUIET = (
    "--headless --no-sandbox --disable-background-networking --disable-component-update --disable-sync "
    "--enable-logging=stderr --virtual-time-budget=20000 --dump-dom"
)
DRAWN, BARE = (
    "--use-angle=swiftshader --enable-unsafe-swiftshader --ignore-gpu-blocklist",
    "--disable-gpu --disable-3d-apis",
)
"""Flags of a browser that draws without a graphics card, and of one without WebGL."""

FRAMES = "<head><script>requestAnimationFrame = f => setTimeout(() => f(performance.now()), 16)</script>"
"""With virtual time the browser draws no frames, and calls nobody back."""

TOLD = """<script>
const wait = time => new Promise(done => setTimeout(done, time));
const texts = query => Array.from(document.querySelectorAll(query), one => one.textContent);
const saved = () => new Promise(done => {
  URL.createObjectURL = blob => { blob.text().then(done); return "#"; };
  HTMLAnchorElement.prototype.click = () => {};  // nothing is to be downloaded
  document.getElementById("export").click();
});
const change = (id, value) => { by(id).value = value; by(id).dispatchEvent(new Event("change")); };
const type = text => { by("search").value = text; by("search").dispatchEvent(new Event("input")); };
const press = (query, at = 0) => document.querySelectorAll(query)[at].click();
(async () => {
  const told = {};
  try { %s } catch (error) { told.error = String(error.stack); }
  document.body.dataset.told = JSON.stringify(told);
})();
</script></body>"""


def drive(page, folder, script, *, flags=DRAWN, width=1280):
    """Run a script in the page; return what it told, and what the console said."""
    driven = folder / "driven.html"
    text = page.read_text("utf-8").replace("<head>", FRAMES, 1)
    driven.write_text(text.replace("</body>", TOLD % script), "utf-8")
    command = [str(CHROMIUM), *QUIET.split(), *flags.split(), f"--user-data-dir={folder / 'profile'}"]
    command += [f"--window-size={width},1000", driven.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-told="(.*?)"', done.stdout)
    assert found, done.stderr[-2000:]
    told = json.loads(html.unescape(found[1]))
    assert "error" not in told, told["error"]
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "GPU stall" not in line]
    return told, said


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a finished run: three classes in two parts, and a bank."""
    out = tmp_path_factory.mktemp("explored") / "page.html"
    assert clsp("explore", finished(), "--out", out) == 0
    return out


HOSTILE = [
    "<script>document.title='x'</script>.png",
    "=cmd|' /C calc'!A0.png",
    'a,"b".png',
    "</script><img src=x>",
    "-1.5",
    "é\n.png",
]


def hostile_page(folder, count=60):
    """Smooth embeddings of two classes, of which one image is mislabelled, under names that want to be more."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    values = rng.normal(size=(count, 6)).astype(np.float32) * 0.1
    values[np.arange(count), labels] += 1
    pixels = rng.integers(0, 256, (count, 3, 20, 20)).astype(np.uint8)
    pixels[41] = pixels[40]
    values[41] = values[40]
    labels[7] = 0
    names = [*HOSTILE, *(f"folder {number % 3}/{number}.png" for number in range(count - len(HOSTILE)))]
    images = Images(source="made", train=Split(images=pixels, names=names, labels=labels), classes=("=a", "<b>"))
    embeddings, rows = Embeddings(images, values), np.arange(count)
    found = explorer.search_found(embeddings, rows, seed=0)
    content = explorer.Content("<i>made</i>", embeddings, rows, found, seed=0)
    return explorer.write_page(content, folder / "hostile.html").path


def test_a_click_shows_neighbours_and_candidates_and_a_filter_narrows(page, tmp_path):
    told, said = drive(page, tmp_path, """
      told.lead = by("lead").textContent;
      press('[data-kind="anchors"]'); press("#list .card");
      told.heads = texts("#open h2, #open h3"); told.neighbours = texts("#open .cards:not(.plain) .card").length;
      told.candidates = document.querySelectorAll("#open .plain [role=img]").length;
      told.focus = document.activeElement.id; told.anchor = document.querySelector("#list .name").textContent;
      press('[data-kind="all"]');
      told.all = texts("#list .card").length;
      change("filter-label", String(columns.label.values.indexOf("b"))); told.b = texts("#count")[0];
      change("filter-part", String(columns.part.values.indexOf("test"))); told.both = state.shown.length;
      type("/1"); told.searched = Array.from(state.shown, one => data.names[one]);
      press("#select-shown"); told.count = texts("#count")[0]; told.csv = await saved();
      press("#reset"); await wait(50); told.reset = texts("#count")[0];
    """)  # fmt: skip
    assert said == []
    assert told["lead"].startswith("96 images: ")
    assert told["heads"] == [told["anchor"], "Nearest neighbours (cosine)", "Synthetic candidates of this anchor"]
    assert told["neighbours"] == 12
    assert told["candidates"] >= 2
    assert told["focus"] == "open"
    assert told["all"] == 96
    assert told["b"] == "32 of 96 images shown, 0 selected"
    assert 0 < told["both"] < 32
    assert told["searched"]
    assert all("/1" in name and "/b/" in f"/{name}" for name in told["searched"])
    assert told["count"] == f"{len(told['searched'])} of 96 images shown, {len(told['searched'])} selected"
    lines = list(csv.DictReader(io.StringIO(told["csv"])))
    assert [line["name"] for line in lines] == told["searched"]
    assert {(line["label"], line["part"]) for line in lines} == {("b", "test")}
    assert all(line["cluster"].isdigit() for line in lines)
    assert told["reset"] == f"96 of 96 images shown, {len(told['searched'])} selected"


def test_the_map_opens_selects_and_shows_thumbnails(page, tmp_path):
    told, said = drive(page, tmp_path, """
      await wait(1500);
      const canvas = by("canvas"), box = canvas.getBoundingClientRect();
      const at = one => { const [x, y] = map.plot.getScreenPosition(one); return [box.left + x, box.top + y]; };
      const mouse = (kind, [x, y], more = {}) => {
        const buttons = kind === "mouseup" ? 0 : 1;
        const init = {clientX: x, clientY: y, bubbles: true, cancelable: true, button: 0, buttons, ...more};
        if (kind !== "click") canvas.dispatchEvent(new PointerEvent(kind.replace("mouse", "pointer"), init));
        canvas.dispatchEvent(new MouseEvent(kind, init));
      };
      canvas.dispatchEvent(new MouseEvent("mouseenter", {clientX: at(5)[0], clientY: at(5)[1]}));
      mouse("mousemove", at(5), {buttons: 0}); await wait(100);
      told.tip = by("tip").hidden ? "" : texts("#tip .name")[0];
      told.hovered = data.names[map.hovered];
      mouse("mousedown", at(5)); mouse("mouseup", at(5)); mouse("click", at(5)); await wait(800);
      told.opened = data.names[state.open]; told.none = state.selection.size;
      told.ring = document.querySelectorAll("#over .ring").length;
      press("#lasso"); told.pressed = by("lasso").getAttribute("aria-pressed");
      const corners = [[2, 2], [box.width - 2, 2], [box.width - 2, box.height - 2], [2, box.height - 2], [2, 20]];
      const path = corners.slice(1).flatMap(([x, y], k) => [1, 2, 3, 4, 5, 6].map(step => [
        box.left + corners[k][0] + (x - corners[k][0]) * step / 6,
        box.top + corners[k][1] + (y - corners[k][1]) * step / 6]));
      mouse("mousedown", path[0]); for (const one of path) { mouse("mousemove", one); await wait(30); }
      mouse("mouseup", path.at(-1)); await wait(100);
      told.lassoed = state.selection.size; told.count = texts("#count")[0];
      map.show(5); await wait(500); told.close = document.querySelectorAll("#over .thumb").length;
      by("plot").dispatchEvent(new KeyboardEvent("keydown", {key: "0"})); await wait(300);
      told.whole = document.querySelectorAll("#over .thumb").length;
    """)  # fmt: skip
    assert said == []
    assert told["tip"] == told["hovered"] == told["opened"]
    assert (told["none"], told["ring"], told["pressed"]) == (0, 1, "true")
    assert told["lassoed"] > 80
    assert told["count"] == f"96 of 96 images shown, {told['lassoed']} selected"
    assert 0 < told["close"] < 96
    assert told["whole"] == 0


def test_without_webgl_lists_work_and_a_line_says_so(page, tmp_path):
    told, said = drive(page, tmp_path, """
      told.note = by("no-map").hidden ? "" : texts("#no-map")[0]; told.map = document.querySelectorAll("canvas").length;
      press("#list .card", 3); told.opened = texts("#open h2").length;
      press("#list input", 3); told.count = texts("#count")[0];
    """, flags=BARE)  # fmt: skip
    assert "no WebGL" in told["note"]
    assert (told["map"], told["opened"], told["count"]) == (0, 1, "96 of 96 images shown, 1 selected")
    assert said == []


def test_hostile_names_stay_text_and_the_findings_are_listed(tmp_path):
    page = hostile_page(tmp_path)
    told, said = drive(page, tmp_path, """
      told.title = document.title; told.names = texts("#list .name");
      told.foreign = document.querySelectorAll("#list img, main script").length;
      press('[data-kind="suspects"]'); told.suspects = texts("#list .card small"); told.wrong = texts("#list .name");
      press('[data-kind="duplicates"]'); told.copies = texts("#list .name");
      press('[data-kind="clusters"]'); told.clusters = texts("#list h3");
      told.folders = columns.folder.values; press("#select-shown"); told.csv = await saved();
    """)  # fmt: skip
    assert said == []
    assert told["title"] == "Images of <i>made</i>"
    assert told["names"][: len(HOSTILE)] == HOSTILE
    assert told["foreign"] == 0
    assert "<script>document" not in page.read_text("utf-8")
    assert (told["wrong"][0], told["suspects"][0]) == ("folder 1/1.png", "=a → <b> (100 %)")
    assert told["copies"] == ["folder 1/34.png", "folder 2/35.png"]
    assert sorted(name.partition(":")[0].partition(",")[0] for name in told["clusters"])[:2] == [
        "Cluster 1",
        "Cluster 2",
    ]
    assert told["folders"][-3:] == ["folder 0", "folder 1", "folder 2"]
    lines = list(csv.reader(io.StringIO(told["csv"])))
    assert [line[0] for line in lines[1:7]] == [HOSTILE[0], f"'{HOSTILE[1]}", *HOSTILE[2:]]
    assert {line[1] for line in lines[1:]} == {"'=a", "<b>"}
    rows = [[name, "=a" if line[1] == "'=a" else line[1], *line[2:]] for name, line in zip(told_names(page), lines[1:])]
    assert told["csv"] == csv_text(["name", "label", "part", "cluster"], rows)


def told_names(page):
    """The names that a page holds."""
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert block
    return json.loads(block[1])["names"]


@pytest.mark.parametrize("width", [500, 1280])
def test_the_page_does_not_scroll_sideways(page, tmp_path, width):
    told, _ = drive(page, tmp_path, """
      openImage(3); press('[data-kind="clusters"]'); await wait(100);
      told.wide = document.documentElement.scrollWidth - innerWidth;
    """, width=width)  # fmt: skip
    assert told["wide"] <= 0
