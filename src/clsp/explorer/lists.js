// The lists: all images, and what was found in them. Each shows the images that the filters leave.

const PAGE = 120;

const LISTS = {
  all: ["All", () => {
    const rows = state.shown;
    return {count: rows.length, said: "", draw: to => [cards(Array.from(rows.slice(0, to)))]};
  }],
  duplicates: ["Near-duplicates", () => {
    const found = new Map();
    for (let at = 0; at < groups.length; at++) {
      const [one, two] = pairs.subarray(2 * at, 2 * at + 2);
      if (!state.visible[one] && !state.visible[two]) continue;
      const group = found.get(groups[at]) ?? {rows: new Set(), cosine: pairCosines[at]};
      group.rows.add(one).add(two);
      found.set(groups[at], group);
    }
    const made = Array.from(found.values());
    const said = made.length ? "Images that embedding and pixels find the same; each group with the cosine of its closest pair." : "There are none here.";
    return {count: made.length, said, draw: to => made.slice(0, to).map((group, at) =>
      section(`Group ${at + 1}, cosine ${group.cosine.toFixed(3)}`, Array.from(group.rows)))};
  }],
  outliers: ["Outliers", () => {
    const places = Array.from(outliers.keys()).filter(at => state.visible[outliers[at]]);
    const standing = places.filter(at => at < data.outstanding).length;
    const said = `The images farthest from all others, the farthest first; ${standing} of these ${places.length} stand out.`;
    return {count: places.length, said, draw: to => [cards(places.slice(0, to).map(at => outliers[at]), (_, at) => {
      const place = places[at];
      return `distance ${distances[place].toPrecision(3)}${place < data.outstanding ? ", stands out" : ""}`;
    })]};
  }],
  clusters: ["Clusters", () => {
    const inside = data.clusters.map(() => []);
    for (const row of state.shown) inside[columns.cluster.codes[row]]?.push(row);
    const kept = Array.from(inside.keys()).filter(number => inside[number].length);
    return {count: kept.length, said: "The most typical images of each cluster first.", draw: to => kept.slice(0, to).map(number => {
      const rows = inside[number].sort((one, two) => typical[one] - typical[two]);
      const only = element("button", {type: "button", onclick: () => filterBy("cluster", number)}, "Show only this cluster");
      return section(`${clusterName(number)}: ${rows.length} ${rows.length === 1 ? "image" : "images"}`, rows.slice(0, 12), only);
    })};
  }],
  suspects: ["Probably wrong labels", () => {
    const places = Array.from(suspects.keys()).filter(at => state.visible[suspects[at]]);
    return {count: places.length, said: places.length ? data.rule : "There are none here.", draw: to => [
      cards(places.slice(0, to).map(at => suspects[at]), (row, at) =>
        `${value("label", row)} → ${columns.label.values[voted[places[at]]]} (${(100 * shares[places[at]]).toFixed(0)} %)`)]};
  }],
  anchors: ["Anchors", () => {
    const rows = Array.from(anchors).filter(row => state.visible[row]);
    return {count: rows.length, said: "Open an image to see its synthetic candidates.", draw: to => [cards(rows.slice(0, to))]};
  }],
};

function section(title, rows, more = null) {
  return element("div", {class: "found"}, element("div", {class: "head"}, element("h3", {}, element("bdi", {}, title)), more), cards(rows));
}

// Lists that this page has something for.
function listsHere() {
  const here = {duplicates: pairs.length, outliers: outliers.length, clusters: data.clusters.length,
    suspects: columns.label.values.length, anchors: anchors.length};
  return Object.keys(LISTS).filter(kind => kind === "all" || here[kind]);
}

function drawList() {
  const {count, said, draw} = LISTS[state.list][1]();
  document.getElementById("said").textContent = said;
  document.getElementById("list").replaceChildren(...draw(state.limit));
  const more = document.getElementById("more"), left = count - state.limit;
  more.hidden = left <= 0;
  more.textContent = `Show ${Math.min(PAGE, left)} more of ${left.toLocaleString("en")}`;
  for (const button of document.querySelectorAll("#kinds button")) {
    button.setAttribute("aria-pressed", String(button.dataset.kind === state.list));
  }
}
