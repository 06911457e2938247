// The map: regl-scatterplot draws the points; thumbnails and marks lie above it.

const HUES = "#3f7fbf #d9822b #4a9b62 #c4504b #8b6bb8 #8c6d57 #cf77b0 #7d8288 #a9a23a #3ba7b8".split(" ");
const NONE = "#9a9a9a";
const CLOSE = 60;  // points in sight from where on the map shows their images

function hsl(hue, saturation, lightness) {  // as #rrggbb
  const part = n => {
    const k = (n + hue / 30) % 12, a = saturation * Math.min(lightness, 1 - lightness);
    return Math.round(255 * (lightness - a * Math.max(-1, Math.min(k - 3, 9 - k, 1)))).toString(16).padStart(2, "0");
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}

function hues(count) {
  if (count <= HUES.length) return HUES.slice(0, count);
  return Array.from({length: count}, (_, k) => hsl(360 * k / count, [.62, .45, .75][k % 3], [.52, .42, .62][k % 3]));
}

class PointMap {
  constructor() {
    this.over = document.getElementById("over");
    this.tip = document.getElementById("tip");
    this.box = document.getElementById("plot");
    const scale = text => Float32Array.from(numbers(text, Uint16Array), at => at / 32767.5 - 1);
    this.points = {x: scale(data.x), y: scale(data.y)};
    this.hovered = -1;
    this.lassoing = false;
    this.frame = 0;
    this.plot = reglScatterplot.createScatterplot({
      canvas: document.getElementById("canvas"), width: "auto", height: "auto", spatialIndexUseWorker: false,
      pointSize: total > 5000 ? 3 : total > 800 ? 5 : 7, pointSizeSelected: 2, pointOutlineWidth: 2, opacity: .85,
      lassoOnLongPress: true, lassoInitiator: false, deselectOnDblClick: false, deselectOnEscape: false, showReticle: false,
      actionKeyMap: {lasso: "shift", merge: "ctrl", remove: "alt"}, cameraDistance: this.far(), ...this.theme(),
    });
    this.listen();
  }

  theme() {
    const read = property => getComputedStyle(document.documentElement).getPropertyValue(property).trim();
    return {backgroundColor: read("--panel"), pointColorActive: read("--accent"), pointColorHover: read("--ink"), lassoColor: read("--accent")};
  }

  listen() {
    const {plot, box} = this;
    plot.subscribe("pointover", row => { this.hovered = row; this.hint(row); });
    plot.subscribe("pointout", () => { this.hovered = -1; this.hint(-1); });
    plot.subscribe("lassoStart", () => { this.lassoing = true; });
    plot.subscribe("select", ({points}) => {
      if (this.lassoing) choose(points.slice());
      else this.selected(state.selection);  // a click opens, it does not select
    });
    plot.subscribe("lassoEnd", () => { this.lassoing = false; });
    plot.subscribe("view", () => this.later());
    let down = null;
    box.addEventListener("pointerdown", event => { down = [event.clientX, event.clientY]; });
    box.addEventListener("pointermove", event => { this.at = [event.clientX, event.clientY]; this.put(); });
    box.addEventListener("pointerleave", () => { this.hint(-1); });
    box.addEventListener("click", event => {
      const still = down && Math.hypot(event.clientX - down[0], event.clientY - down[1]) < 6;
      if (still && this.hovered >= 0) openImage(this.hovered);
    });
    box.addEventListener("keydown", event => this.key(event));
    new ResizeObserver(() => this.later()).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.set(this.theme()));
  }

  key(event) {
    const moves = {ArrowLeft: [-.2, 0], ArrowRight: [.2, 0], ArrowUp: [0, .2], ArrowDown: [0, -.2]};
    if (moves[event.key]) this.look(...moves[event.key], 1);
    else if (event.key === "+" || event.key === "=") this.look(0, 0, 1 / 1.5);
    else if (event.key === "-") this.look(0, 0, 1.5);
    else if (event.key === "0") this.whole();
    else return;
    event.preventDefault();
  }

  look(right, up, farther) {
    const [x, y] = this.plot.get("cameraTarget"), distance = this.plot.get("cameraDistance");
    this.plot.zoomToLocation([x + right * distance, y + up * distance], distance * farther);
  }

  // The distance from which all points are in sight, also where the map is higher than wide.
  far() { return 1.1 * Math.max(1, this.box.clientHeight / this.box.clientWidth); }

  whole() { this.plot.zoomToLocation([0, 0], this.far()); }

  show(row) {
    this.plot.zoomToLocation([this.points.x[row], this.points.y[row]], .12);
    this.box.scrollIntoView({block: "nearest"});
  }

  // Colours by a column; images without a value are grey.
  async colour(column) {
    const {values, codes} = columns[column];
    this.column = column;
    this.colours = [NONE, ...hues(values.length)];
    this.plot.set({colorBy: "valueA", pointColor: this.colours});
    await this.plot.draw({...this.points, valueA: Array.from(codes, code => code + 1)}, {zDataType: "categorical", preventFilterReset: true});
    this.drawn = true;
    this.filtered(state.shown);
    this.selected(state.selection);
    this.later();
  }

  filtered(rows) {
    if (!this.drawn) return;
    if (rows.length === total) this.plot.unfilter({preventEvent: true});
    else this.plot.filter(Array.from(rows), {preventEvent: true});
    this.later();
  }

  selected(rows) {
    if (!this.drawn) return;
    if (rows.size) this.plot.select(Array.from(rows).filter(row => state.visible[row]), {preventEvent: true});
    else this.plot.deselect({preventEvent: true});
  }

  lasso(on) { this.plot.set({mouseMode: on ? "lasso" : "panZoom"}); }

  mark(row) { this.marked = row; this.later(); }

  hint(row) {
    this.tip.hidden = row < 0;
    if (row < 0) return;
    this.tip.replaceChildren(thumb(0, row, 96), name(data.names[row]), element("span", {class: "quiet"}, about(row)));
    this.put();
  }

  put() {
    if (this.tip.hidden || !this.at) return;
    const {offsetWidth, offsetHeight} = this.tip, [x, y] = this.at;
    this.tip.style.left = `${Math.max(4, x + 16 + offsetWidth > innerWidth ? x - 16 - offsetWidth : x + 16)}px`;
    this.tip.style.top = `${Math.max(4, Math.min(y + 16, innerHeight - offsetHeight - 4))}px`;
  }

  later() {
    if (!this.frame && this.drawn) this.frame = requestAnimationFrame(() => { this.frame = 0; this.lay(); });
  }

  // The images of the points in sight where these are few, and a ring around the opened one.
  lay() {
    const laid = [], seen = this.plot.get("pointsInView").filter(row => state.visible[row]);
    const put = (made, row) => {
      const [x, y] = this.plot.getScreenPosition(row);
      made.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px) translate(-50%, -50%)`;
      laid.push(made);
    };
    const close = seen.length <= CLOSE && seen.length < total;
    for (const row of close ? seen : []) {
      const made = thumb(0, row, 40);
      made.style.outlineColor = this.colours[columns[this.column].codes[row] + 1];
      put(made, row);
    }
    if (this.marked != null) put(element("span", {class: close ? "ring close" : "ring"}), this.marked);
    this.over.replaceChildren(...laid);
  }
}

function legend(column) {
  const {values, codes} = columns[column], colours = hues(values.length), counts = new Uint32Array(values.length);
  for (const code of codes) if (code >= 0) counts[code]++;
  const rows = values.map((told, code) => {
    const dot = element("span", {class: "dot"});
    dot.style.background = colours[code];
    return element("li", {}, dot, element("bdi", {}, column === "cluster" ? clusterName(code) : told), element("small", {}, String(counts[code])));
  });
  return element("ul", {tabindex: rows.length > 12 ? 0 : null, "aria-label": "Colours"}, ...rows);
}
