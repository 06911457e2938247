"use strict";
// What Python wrote: text as JSON, numbers and pictures in base64.

const data = JSON.parse(document.getElementById("data").textContent);

function bytes(text) {
  const raw = atob(text), made = new Uint8Array(raw.length);
  for (let place = 0; place < raw.length; place++) made[place] = raw.charCodeAt(place);
  return made;
}

const numbers = (text, Kind) => new Kind(bytes(text).buffer);

const total = data.names.length;
const near = numbers(data.near, Uint32Array), cosines = numbers(data.cosines, Float32Array);
const nearest = total ? near.length / total : 0;
const typical = numbers(data.typical, Float32Array);
const pairs = numbers(data.pairs, Uint32Array), groups = numbers(data.groups, Uint32Array);
const pairCosines = numbers(data.pair_cosines, Float32Array);
const outliers = numbers(data.outliers, Uint32Array), distances = numbers(data.distances, Float32Array);
const suspects = numbers(data.suspects, Uint32Array), voted = numbers(data.voted, Uint32Array);
const shares = numbers(data.shares, Float32Array);
const anchors = numbers(data.anchors, Uint32Array);
const anchorOf = new Map(Array.from(anchors, (row, place) => [row, place]));

// Columns of few values: label, part, folder, cluster.
const columns = {};
for (const [name, column] of Object.entries(data.columns)) {
  columns[name] = {values: column.values, codes: numbers(column.codes, Int32Array)};
}
const value = (name, row) => columns[name].values[columns[name].codes[row]] ?? "";
const clusterName = number => `Cluster ${number + 1}` + (data.clusters[number] ? `, ${data.clusters[number]}` : "");
const searched = data.names.map(name => name.toLowerCase());

// Sheets of thumbnails become files in memory, each with a class of its own: a thumbnail is a part of its background.
const sheets = data.sheets.map((sheet, kind) => {
  const rules = sheet.pictures.map((picture, number) => {
    const url = URL.createObjectURL(new Blob([bytes(picture)], {type: "image/webp"}));
    return `.sheet-${kind}-${number}{background-image:url(${url})}`;
  });
  document.head.appendChild(document.createElement("style")).textContent = rules.join("\n");
  const {side, cell, columns, heights} = sheet;
  return {side, cell, columns, heights};
});
data.sheets = null;  // the text of the pictures is large, and not needed any more

// A CSV file. Which cells a spreadsheet would compute, and what stands there instead, Python says.
const cells = new Map(data.cells);

function csvText(rows) {
  const quote = text => {
    const safe = cells.get(text) ?? text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = rows.map(row => [data.names[row], value("label", row), value("part", row), value("cluster", row)]);
  return [["name", "label", "part", "cluster"], ...lines].map(line => line.map(quote).join(",") + "\r\n").join("");
}
