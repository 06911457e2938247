"use strict";
// The page reads well without this script; it adds the values under the pointer, the classes of the map, and copying.

const tip = document.getElementById("tip");

function node(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function svgNode(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function showTip(event, ...children) {
  tip.replaceChildren(...children);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const right = event.clientX + 16 + box.width < innerWidth;
  tip.style.left = Math.max(4, right ? event.clientX + 16 : event.clientX - 16 - box.width) + "px";
  tip.style.top = Math.max(4, Math.min(event.clientY + 16, innerHeight - box.height - 4)) + "px";
}

/** The pointer in the coordinates of the drawing. */
function place(svg, event) {
  const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
  return [(event.clientX - box.left) / box.width * view.width, (event.clientY - box.top) / box.height * view.height];
}

function nearest(points, distance) {
  let best = null, least = Infinity;
  for (const point of points) {
    const now = distance(point);
    if (now < least) [best, least] = [point, now];
  }
  return [best, least];
}

/** Call `move` while a pointer is over `svg`, `leave` when it is gone. */
function follow(svg, move, leave) {
  svg.addEventListener("pointermove", move);
  svg.addEventListener("pointerdown", move);
  svg.addEventListener("pointerleave", () => { tip.hidden = true; leave(); });
}

function hoverCurves(block) {
  const svg = block.previousElementSibling, series = JSON.parse(block.textContent);
  const height = svg.viewBox.baseVal.height;
  const cursor = svgNode("line", {class: "cursor", y1: 10, y2: height - 26, visibility: "hidden"});
  svg.append(cursor);
  follow(svg, event => {
    const [x] = place(svg, event);
    const [centre] = nearest(series.flatMap(one => one.points), point => Math.abs(point[0] - x));
    cursor.setAttribute("x1", centre[0]);
    cursor.setAttribute("x2", centre[0]);
    cursor.setAttribute("visibility", "visible");
    const rows = series.map(one => {
      const [point, distance] = nearest(one.points, p => Math.abs(p[0] - centre[0]));
      // A curve that ends earlier has no value here.
      if (distance > 12) return "";
      return node("div", {}, node("span", {class: "swatch " + one.colour}), one.name, node("b", {}, point[3]));
    });
    showTip(event, node("div", {class: "quiet"}, "step " + centre[2]), ...rows);
  }, () => cursor.setAttribute("visibility", "hidden"));
}

function thumbnail(figure, data, index) {
  const picture = figure.querySelector(".sprite img");
  if (!picture || !data.sprite) return "";
  const {columns, size} = data.sprite, zoom = 64 / size;
  const thumb = node("div", {class: "thumb"});
  thumb.style.backgroundImage = `url(${picture.src})`;
  thumb.style.backgroundSize = `${picture.naturalWidth * zoom}px auto`;
  thumb.style.backgroundPosition = `${-(index % columns) * 64}px ${-Math.floor(index / columns) * 64}px`;
  return thumb;
}

function hoverMap(block) {
  const figure = block.closest("figure"), svg = figure.querySelector("svg");
  const data = JSON.parse(block.textContent), chips = [...figure.querySelectorAll(".chips button")];
  // The same frame as charts.scatter draws in.
  const points = data.x.map((x, index) => [8 + 584 * x, 8 + 484 * (1 - data.y[index]), index]);
  const ring = svgNode("circle", {class: "here", r: 7, visibility: "hidden"});
  svg.append(ring);
  let only = null;
  follow(svg, event => {
    const [x, y] = place(svg, event);
    const shown = only === null ? points : points.filter(point => data.labels[point[2]] === only);
    const [point, distance] = nearest(shown, p => Math.hypot(p[0] - x, p[1] - y));
    ring.setAttribute("visibility", distance < 16 ? "visible" : "hidden");
    tip.hidden = distance >= 16;
    if (distance >= 16) return;
    ring.setAttribute("cx", point[0]);
    ring.setAttribute("cy", point[1]);
    const index = point[2], lines = [thumbnail(figure, data, index)];
    if (data.labels) lines.push(node("div", {}, data.classes[data.labels[index]]));
    if (data.names[index]) lines.push(node("div", {class: "quiet"}, data.names[index]));
    if (lines.some(line => line)) showTip(event, ...lines);
  }, () => ring.setAttribute("visibility", "hidden"));
  chips.forEach((chip, number) => chip.addEventListener("click", () => {
    only = only === number ? null : number;
    chips.forEach((other, k) => other.setAttribute("aria-pressed", String(k === only)));
    svg.querySelectorAll("path").forEach((path, k) => path.classList.toggle("dim", only !== null && k !== only));
  }));
}

function copyButton(button) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

/** A click, or Enter, shows a picture as large as the window. */
function enlarge(picture) {
  picture.tabIndex = 0;
  picture.setAttribute("role", "button");
  picture.setAttribute("aria-label", "Enlarge: " + picture.alt);
  const open = () => {
    const close = node("button", {type: "button"}, "Close"), dialog = node("dialog", {class: "large", "aria-label": picture.alt});
    dialog.append(node("img", {src: picture.src, alt: picture.alt, class: picture.className}), close);
    dialog.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => { dialog.remove(); picture.focus(); });
    document.body.append(dialog);
    dialog.showModal();
  };
  picture.addEventListener("click", open);
  picture.addEventListener("keydown", event => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    open();
  });
}

/** Say in the page how many pictures could not be shown, for tests and for whoever looks at the source. */
function countBroken() {
  const pictures = [...document.images];
  document.body.dataset.broken = pictures.filter(picture => !picture.complete || !picture.naturalWidth).length;
}

document.querySelectorAll("script.hover").forEach(hoverCurves);
document.querySelectorAll("script.points").forEach(hoverMap);
document.querySelectorAll("figure > img, figure > .picture > img").forEach(enlarge);
document.querySelectorAll(".copy").forEach(copyButton);
// A closed block cannot be printed, and paper has no use for a click.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach(block => { block.open = true; });
});
addEventListener("afterprint", () => opened.forEach(block => { block.open = false; }));
addEventListener("load", countBroken);
