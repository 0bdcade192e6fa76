// What was scanned: the places of frames, and the cells on them, patch by patch.
import { $, background, element, get, LINEAGES } from "./server.js";

const MARGIN = 10;
const SIZE_PX = 4;
let patches = [];
let lineages = new Map();

export async function reloadMap() {
  const found = await background(() => get("/api/map"));
  if (!found) return;
  patches = found.patches;
  if ($("patch").length !== patches.length) {
    const before = $("patch").value;
    $("patch").replaceChildren(...patches.map((one, at) => element("option", one.name, { value: at })));
    if (before) $("patch").value = before;
  }
  draw();
}

function draw() {
  const patch = patches[Number($("patch").value) || 0];
  const canvas = $("map");
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!patch) { $("map-words").textContent = "Nothing was scanned yet."; return; }
  const [left, top, right, bottom] = patch.area;
  const scale = Math.min((canvas.width - 2 * MARGIN) / Math.max(1, right - left), (canvas.height - 2 * MARGIN) / Math.max(1, bottom - top));
  const at = (x, y) => [MARGIN + (x - left) * scale, MARGIN + (y - top) * scale];
  context.fillStyle = "#dfe5ea";
  for (const [x, y, width, height] of patch.frames) context.fillRect(...at(x, y), width * scale, height * scale);
  for (const [x, y, code, counted] of patch.cells) mark(context, at(x, y), LINEAGES[lineages.get(code)] || LINEAGES.other, counted);
  const width = right - left, height = bottom - top;
  $("map-words").textContent = `Grey: scanned. Filled signs: counted cells, as the table shows their lineage; open ones: not counted. ${width.toFixed(0)} × ${height.toFixed(0)} µm, ${patch.cells.length} cells.`;
}

function mark(context, [x, y], { colour, corners, turn }, counted) {
  context.beginPath();
  for (let corner = 0; corner < corners; corner++) {
    const angle = (2 * Math.PI * corner) / corners - (Math.PI * turn) / 4;
    context.lineTo(x + SIZE_PX * Math.cos(angle), y + SIZE_PX * Math.sin(angle));
  }
  context.closePath();
  context.fillStyle = context.strokeStyle = colour;
  if (counted) context.fill(); else context.stroke();
}

export function startMap(vocabulary) {
  lineages = new Map(vocabulary.map((one) => [one.code, one.lineage]));
  $("patch").addEventListener("change", draw);
}
