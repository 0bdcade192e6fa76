// Cells, least certain first; one is chosen, and can be given another class.
import { $, attempt, background, element, get, post } from "./server.js";

const PAGE = 200;
const FIRST = 40; // seen while the rest of them is laid out
const REASONS = ["uncertain", "artifact", "not-in-differential", "edge", "unreadable-field"];
const LIGHT = ["brightness", "contrast"];
const items = new Map();
let limit = PAGE;
let chosen = null;
let names = new Map();
let changed = () => {};

export function startGallery(vocabulary, whenChanged) {
  changed = whenChanged;
  names = new Map(vocabulary.map((one) => [one.code, one.name]));
  $("filter").addEventListener("change", () => { limit = PAGE; $("cells").scrollTop = 0; reload(); });
  $("more").addEventListener("click", () => { limit += PAGE; reload(); });
  $("cells").addEventListener("keydown", onKey);
  $("cells").addEventListener("click", (event) => choose(event.target.closest("li")));
  $("cells").addEventListener("dblclick", () => closer());
  $("cells").addEventListener("contextmenu", (event) => event.preventDefault());
  for (const name of LIGHT) $(name).addEventListener("input", relight);
  $("plain").addEventListener("click", plain);
  startCloser(vocabulary);
}

export function fillFilter(classes) {
  const options = [["", "all"], ...REASONS.map((reason) => [`reason=${reason}`, `not counted: ${reason}`])];
  options.push(...classes.map((one) => [`code=${one.code}`, `${one.code} ${one.name}`]));
  const before = $("filter").value;
  $("filter").replaceChildren(...options.map(([value, text]) => element("option", text, { value })));
  $("filter").value = before || "";
}

// Pictures without a filter are drawn faster: there is one only where it changes something.
function relight() {
  const moved = LIGHT.filter((name) => Number($(name).value) !== 1);
  const filter = moved.map((name) => `${name}(${$(name).value})`).join(" ");
  document.documentElement.style.setProperty("--light", filter || "none");
}

function plain() {
  for (const name of LIGHT) $(name).value = 1;
  relight();
}

const ask = () => background(() => get(`/api/cells?${$("filter").value}&limit=${limit}`));

// The first cells, asked for before it is known what they are shown with.
let ahead = null;
export async function askAhead() {
  ahead = await ask();
}

let asked = 0;
export async function reload() {
  const mine = ++asked;
  const found = ahead || (await ask());
  ahead = null;
  if (!found || mine !== asked) return;
  if (!items.size && found.cells.length > FIRST) {
    show({ ...found, cells: found.cells.slice(0, FIRST) });
    await new Promise((done) => setTimeout(done, 100));
    if (mine !== asked) return;
  }
  show(found);
}

function show({ more, cells }) {
  const at = chosen ? [...$("cells").children].indexOf(chosen) : -1;
  const kept = new Set(cells.map((cell) => cell.id));
  for (const [id, item] of items) if (!kept.has(id)) { item.remove(); items.delete(id); }
  cells.forEach((cell, place) => {
    const item = items.get(cell.id) || make(cell.id);
    label(item, cell);
    if ($("cells").children[place] !== item) $("cells").insertBefore(item, $("cells").children[place] || null);
  });
  if (chosen && !chosen.isConnected) choose($("cells").children[Math.min(at, cells.length - 1)] || null);
  $("more").hidden = !more;
  $("gallery-words").textContent = `${more ? "The first " : ""}${cells.length} cells, least certain first`;
}

function make(id) {
  const item = element("li", "", { id: `cell-${id}`, role: "option", "aria-selected": "false" });
  const image = element("img", "", { src: `/crop/${id}.jpg`, alt: "", loading: "lazy", draggable: "false", width: 96, height: 96 });
  item.append(image, element("span"), element("span"));
  item.dataset.id = id;
  items.set(id, item);
  return item;
}

function label(item, cell) {
  const second = cell.corrected ? `by hand, was ${cell.named}` : `${(100 * cell.probability).toFixed(0)} %`;
  const [, code, words] = item.children;
  code.textContent = cell.code + (cell.reason === "uncertain" ? "?" : "");
  words.textContent = cell.reason && cell.reason !== "uncertain" ? `${second}, ${cell.reason}` : second;
  item.className = cell.reason === "uncertain" ? "unsure" : cell.reason ? "out" : "";
  if (item === chosen) item.classList.add("chosen");
  const state = cell.reason ? `not counted: ${cell.reason}` : "counted";
  item.setAttribute("aria-label", `Cell ${cell.id}: ${cell.code} ${names.get(cell.code) || ""}, ${second}, ${state}`);
}

export function choose(item) {
  if (chosen) { chosen.classList.remove("chosen"); chosen.setAttribute("aria-selected", "false"); }
  chosen = item;
  if (!item) return $("cells").removeAttribute("aria-activedescendant");
  item.classList.add("chosen");
  item.setAttribute("aria-selected", "true");
  $("cells").setAttribute("aria-activedescendant", item.id);
  item.scrollIntoView({ block: "nearest" });
}

function onKey(event) {
  const all = [...$("cells").children];
  if (event.key === "Enter") { event.preventDefault(); return closer(); }
  const across = Math.max(1, getComputedStyle($("cells")).gridTemplateColumns.split(" ").length);
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -Infinity, End: Infinity };
  if (!(event.key in steps) || !all.length) return;
  event.preventDefault();
  const at = chosen ? all.indexOf(chosen) + steps[event.key] : 0;
  choose(all[Math.min(all.length - 1, Math.max(0, at))]);
}

export const chosenId = () => (chosen ? Number(chosen.dataset.id) : null);

export async function correct(id, code) {
  if (await attempt(() => post("/api/correct", { id, code }))) changed();
}

function startCloser(classes) {
  $("closer-class").replaceChildren(...classes.map((one) => element("option", `${one.code} ${one.name}`, { value: one.code })));
  $("closer-class").addEventListener("change", () => correct(Number($("closer").dataset.id), $("closer-class").value));
  $("closer-close").addEventListener("click", () => $("closer").close());
}

async function closer() {
  const id = chosenId();
  const cell = id === null ? null : await attempt(() => get(`/api/cell/${id}`));
  if (!cell) return;
  $("closer").dataset.id = id;
  $("closer-title").textContent = `Cell ${id}: ${cell.code} ${names.get(cell.code) || ""}`;
  $("closer-crop").src = `/crop/${id}.jpg`;
  $("closer-crop").alt = `Cell ${id}, 24 µm across`;
  $("closer-words").textContent = cell.probabilities.map(([code, p]) => `${code} ${(100 * p).toFixed(1)} %`).join(", ");
  $("closer-class").value = cell.code;
  $("closer").showModal();
}
