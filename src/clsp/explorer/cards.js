// Elements. All text goes through textContent: a name is never markup.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, given] of Object.entries(attributes)) {
    if (name === "onclick" || name === "onchange") made[name] = given;
    else if (given !== false && given != null) made.setAttribute(name, given === true ? "" : given);
  }
  made.append(...children.filter(child => child != null && child !== ""));
  return made;
}

// A thumbnail: `kind` 0 an image, 1 a candidate; `size` in CSS pixels.
function thumb(kind, number, size) {
  const {side, cell, columns: across, heights} = sheets[kind], on = across * across;
  const sheet = Math.floor(number / on), place = number % on, scale = size / side;
  const made = element("span", {class: `thumb sheet-${kind}-${sheet}`});
  Object.assign(made.style, {
    width: `${size}px`, height: `${size}px`,
    backgroundSize: `${across * cell * scale}px ${heights[sheet] * scale}px`,
    backgroundPosition: `${-(place % across) * cell * scale}px ${-Math.floor(place / across) * cell * scale}px`,
    imageRendering: scale >= 2 ? "pixelated" : "auto",
  });
  return made;
}

// A picture that stands for itself; beside a name a thumbnail says nothing more.
function picture(made, told) {
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", told);
  return made;
}

const name = text => element("bdi", {class: "name"}, text);

// What is known of an image in a few words.
function about(row) {
  const label = value("label", row), cluster = value("cluster", row);
  const told = [label && `label ${label}`, value("part", row), cluster && `cluster ${cluster}`];
  return told.filter(Boolean).join(", ");
}

// An image of a list: a button that opens it, and a box that selects it.
function card(row, caption = "") {
  const box = element("input", {type: "checkbox", "aria-label": `Select ${data.names[row]}`});
  box.checked = state.selection.has(row);
  box.onchange = () => select([row], box.checked);
  const open = element("button", {type: "button", class: "card", onclick: () => openImage(row, true)},
    thumb(0, row, 80), name(data.names[row]), caption && element("small", {}, caption),
    element("span", {class: "unseen"}, `, ${about(row)}`));
  return element("li", {"data-row": row, class: box.checked ? "selected" : null}, open, box);
}

const cards = (rows, caption = () => "") => element("ul", {class: "cards"}, ...rows.map((row, at) => card(row, caption(row, at))));

// The opened image: what is known of it, its neighbours, and its candidates.
function openImage(row, focused = false) {
  state.open = row;
  const place = document.getElementById("open"), label = value("label", row);
  const facts = [["Label", label], ["Part", value("part", row)],
    ["Cluster", columns.cluster.codes[row] >= 0 ? clusterName(columns.cluster.codes[row]) : ""]].filter(([, told]) => told);
  const neighbours = Array.from(near.subarray(row * nearest, (row + 1) * nearest));
  const box = element("button", {type: "button", onclick: () => select([row], !state.selection.has(row))});
  const centre = element("button", {type: "button", onclick: () => map?.show(row)}, "Show on map");
  place.replaceChildren(
    element("div", {class: "one"}, thumb(0, row, 128), element("div", {},
      element("h2", {}, name(data.names[row])),
      element("dl", {}, ...facts.flatMap(([what, told]) => [element("dt", {}, what), element("dd", {}, element("bdi", {}, told))])),
      element("div", {class: "actions"}, box, map && centre))),
    element("h3", {}, `Nearest neighbours (cosine)`),
    cards(neighbours, (other, at) => {
      const cosine = cosines[row * nearest + at].toFixed(3), theirs = value("label", other);
      return label && theirs && theirs !== label ? `${cosine}, label ${theirs}` : cosine;
    }),
    ...candidates(row));
  state.toggle = () => { box.textContent = state.selection.has(row) ? "Take out of selection" : "Select"; };
  state.toggle();
  map?.mark(row);
  if (focused) {
    place.focus({preventScroll: true});
    place.scrollIntoView({block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth"});
  }
}

function candidates(row) {
  if (!anchorOf.has(row)) return [];
  const first = anchorOf.get(row) * data.each;
  const made = Array.from({length: data.each}, (_, at) =>
    element("li", {}, picture(thumb(1, first + at, 80), `Candidate ${at + 1}`)));
  return [element("h3", {}, "Synthetic candidates of this anchor"), element("ul", {class: "cards plain"}, ...made)];
}
