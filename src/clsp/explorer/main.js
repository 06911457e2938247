// State, filters, selection, and the buttons.

const state = {
  list: "all", limit: PAGE, open: null, selection: new Set(), toggle: () => {},
  choice: {},  // of each column the code that is shown; none: all
  shown: Uint32Array.from({length: total}, (_, row) => row), visible: new Uint8Array(total).fill(1),
};
let map = null;
const by = id => document.getElementById(id);

const KINDS = {
  selection: () => state.selection,
  duplicates: () => new Set(pairs),
  outliers: () => new Set(outliers.subarray(0, data.outstanding)),
  suspects: () => new Set(suspects),
  anchors: () => anchorOf,
};

function applyFilters() {
  const text = by("search").value.trim().toLowerCase(), chosen = Object.entries(state.choice);
  const only = by("only").value ? KINDS[by("only").value]() : null;
  for (let row = 0; row < total; row++) {
    state.visible[row] = chosen.every(([column, code]) => columns[column].codes[row] === code)
      && (!text || searched[row].includes(text)) && (!only || only.has(row)) ? 1 : 0;
  }
  state.shown = Uint32Array.from({length: total}, (_, row) => row).filter(row => state.visible[row]);
  state.limit = PAGE;
  map?.filtered(state.shown);
  map?.selected(state.selection);
  drawList();
  tell();
}

function filterBy(column, code) {
  by(`filter-${column}`).value = String(code);
  state.choice[column] = code;
  state.list = "all";
  applyFilters();
  by("list").querySelector("button")?.focus();
}

function select(rows, on) {
  for (const row of rows) on ? state.selection.add(row) : state.selection.delete(row);
  chosen();
}

function choose(rows) {
  state.selection = new Set(rows);
  chosen();
}

// The selection has changed: boxes, map and count follow; the list stays, so that the focus does.
function chosen() {
  for (const item of document.querySelectorAll("li[data-row]")) {
    const on = state.selection.has(Number(item.dataset.row));
    item.classList.toggle("selected", on);
    item.querySelector("input").checked = on;
  }
  map?.selected(state.selection);
  state.toggle();
  if (by("only").value === "selection") applyFilters();
  else tell();
}

function tell() {
  const many = number => number.toLocaleString("en"), selected = state.selection.size;
  by("count").textContent = `${many(state.shown.length)} of ${many(total)} images shown, ${many(selected)} selected`;
  by("export").textContent = selected ? `Save ${many(selected)} selected as CSV` : `Save ${many(state.shown.length)} shown as CSV`;
  by("clear").disabled = !selected;
  by("select-shown").disabled = !state.shown.length;
}

function saveCsv() {
  const rows = state.selection.size ? Array.from(state.selection).sort((one, two) => one - two) : Array.from(state.shown);
  const url = URL.createObjectURL(new Blob([csvText(rows)], {type: "text/csv"}));
  element("a", {href: url, download: "images.csv"}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function choices() {
  const titles = {label: "Class", part: "Part", folder: "Folder", cluster: "Cluster"};
  for (const [column, title] of Object.entries(titles)) {
    const {values} = columns[column];
    if (values.length < 2) continue;
    const options = values.map((told, code) => element("option", {value: code}, column === "cluster" ? clusterName(code) : told));
    const made = element("select", {id: `filter-${column}`, onchange: () => {
      if (made.value === "") delete state.choice[column];
      else state.choice[column] = Number(made.value);
      applyFilters();
    }}, element("option", {value: ""}, "all"), ...options);
    by("choices").append(element("label", {}, `${title} `, made));
    by("colour").append(element("option", {value: column}, title.toLowerCase()));
  }
}

function start() {
  by("lead").textContent = data.lead;
  by("notes").append(...data.notes.map(note => element("li", {}, note)));
  choices();
  const here = listsHere();
  for (const option of Array.from(by("only").options)) {
    if (option.value && option.value !== "selection" && !here.includes(option.value)) option.remove();
  }
  by("kinds").append(...here.map(kind => element("button", {type: "button", "data-kind": kind, onclick: () => {
    Object.assign(state, {list: kind, limit: PAGE});
    drawList();
  }}, LISTS[kind][0])));
  by("search").addEventListener("input", applyFilters);
  by("only").addEventListener("change", applyFilters);
  by("filters").addEventListener("submit", event => event.preventDefault());
  by("filters").addEventListener("reset", () => { state.choice = {}; setTimeout(applyFilters); });
  by("select-shown").onclick = () => select(state.shown, true);
  by("clear").onclick = () => choose([]);
  by("export").onclick = saveCsv;
  by("more").onclick = () => {
    const before = document.querySelectorAll("#list .card").length;
    state.limit += PAGE;
    drawList();
    document.querySelectorAll("#list .card")[before]?.focus();
  };
  startMap();
  drawList();
  tell();
}

function startMap() {
  try {
    const probe = document.createElement("canvas").getContext("webgl");
    if (!probe) throw new Error("no WebGL");
    probe.getExtension("WEBGL_lose_context")?.loseContext();
    map = new PointMap();
  } catch {
    map = null;
    by("map").remove();
    by("no-map").hidden = false;
    return;
  }
  const modes = on => () => {
    by("pan").setAttribute("aria-pressed", String(!on));
    by("lasso").setAttribute("aria-pressed", String(on));
    map.lasso(on);
  };
  by("pan").onclick = modes(false);
  by("lasso").onclick = modes(true);
  by("zoom-in").onclick = () => map.look(0, 0, 1 / 1.5);
  by("zoom-out").onclick = () => map.look(0, 0, 1.5);
  by("whole").onclick = () => map.whole();
  by("colour").onchange = colour;
  if (!by("colour").options.length) by("colour").append(element("option", {value: "part"}, "part"));
  colour();
}

function colour() {
  by("legend").replaceChildren(legend(by("colour").value));
  map.colour(by("colour").value);
}

start();
