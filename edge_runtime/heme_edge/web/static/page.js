// The page: asks for the state twice a second, and hands it to its parts.
import { $, attempt, background, element, get, post, say } from "./server.js";
import { fillTray, startDrag } from "./drag.js";
import { askAhead, chosenId, correct, fillFilter, reload, startGallery } from "./gallery.js";
import { showSource, startLive } from "./live.js";
import { reloadMap, startMap } from "./map.js";
import { startPhotos } from "./photos.js";
import { inOrder, keyOf, layTable, showFigures } from "./tally.js";

const EVERY_MS = 500;
const GALLERY_EVERY_MS = 2000;
const MAP_EVERY_MS = 5000;
let classes = [];
let keys = new Map();
let seen = { version: -1, at: 0 };
let paused = false;

async function begin() {
  const [state] = await Promise.all([get("/api/state"), askAhead()]);
  startGallery(state.vocabulary, () => { seen.version = -1; look(); });
  startDrag();
  startMap(state.vocabulary);
  startPhotos();
  useClasses(state.classes);
  $("title").textContent = state.title;
  $("losses").textContent = state.losses.join(" ");
  $("live").hidden = !state.live;
  document.querySelector("main").classList.toggle("finished", !state.live);
  $("pause").hidden = !state.live;
  if (state.live) startLive();
  listen();
  await show(state);
  for (;;) {
    await new Promise((done) => setTimeout(done, EVERY_MS));
    await look();
  }
}

// A person may have named a class that the bundle does not know: it gets a row and a key too.
function useClasses(found) {
  if (found.length === classes.length) return;
  classes = inOrder(found);
  keys = keyOf(classes);
  layTable(classes);
  fillFilter(classes);
  fillTray(classes);
  listKeys();
}

let lost = false;
async function look() {
  let state;
  try {
    state = await get("/api/state");
  } catch {
    lost = true;
    return say("The page has lost heme-edge: is it still running?");
  }
  if (lost) { lost = false; say(""); }
  await show(state);
}

async function show(state) {
  paused = state.paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
  setText("status", state.status);
  setText("signed", state.signed ? `Signed ${state.signed.initials}, ${state.signed.time}` : "Not signed.");
  $("reopen").hidden = !state.signed;
  $("sign-form").hidden = Boolean(state.signed);
  if (state.live) showSource(state);
  useClasses(state.classes);
  showFigures(state.figures);
  const due = seen.version < 0 || !state.live || performance.now() - seen.at > GALLERY_EVERY_MS;
  if (state.version === seen.version || !due) return mapDue(state.live);
  seen = { version: state.version, at: performance.now() };
  await reload();
  await reloadLog();
  await mapDue(state.live);
}

// The map of a large session is heavy: asked for while it is seen, and not often.
let drawn = { version: -1, at: 0 };
async function mapDue(live) {
  const part = $("map").getBoundingClientRect();
  const visible = part.top < innerHeight && part.bottom > 0;
  const soon = live && performance.now() - drawn.at < MAP_EVERY_MS;
  if (!visible || drawn.version === seen.version || (drawn.at && soon)) return;
  drawn = { version: seen.version, at: performance.now() };
  await reloadMap();
}

// A live region says again what is written again.
function setText(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

async function reloadLog() {
  const found = await background(() => get("/api/log"));
  if (found) $("log").replaceChildren(...found.entries.map((one) => element("li", `${one.seq}. ${one.time} ${one.words}`)));
}

const act = async (path, body) => { if (await attempt(() => post(path, body))) { seen.version = -1; await look(); } };
const pause = () => act("/api/pause", { paused: !paused });
const undo = () => act("/api/undo", {});

function listen() {
  $("pause").addEventListener("click", pause);
  $("undo").addEventListener("click", undo);
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("help-close").addEventListener("click", () => $("help").close());
  $("sign-form").addEventListener("submit", (event) => {
    event.preventDefault();
    act("/api/sign", { initials: $("initials").value });
  });
  $("reopen").addEventListener("click", () => act("/api/reopen", {}));
  document.addEventListener("keydown", onKey);
}

function onKey(event) {
  const busy = event.target.closest("input:not([type=range]), select, dialog");
  if (busy || event.altKey || event.metaKey || !$("keys-on").checked) return;
  const key = event.key.toLowerCase();
  if (event.ctrlKey && key !== "z") return;
  if (key === "z") { event.preventDefault(); undo(); }
  else if (key === "?") $("help").showModal();
  else if (key === "p" && !$("pause").hidden) pause();
  else if (keys.has(key) && chosenId() !== null) { event.preventDefault(); correct(chosenId(), keys.get(key)); }
}

function listKeys() {
  const lines = [["arrows", "choose a cell"], ["Enter", "look closer"], ["z", "undo"], ["p", "pause, go on"], ["Tab", "next part of the page"]];
  const name = new Map(classes.map((one) => [one.code, one.name]));
  for (const [key, code] of keys) if (key) lines.push([key, `${code} ${name.get(code)}`]);
  $("keys").replaceChildren();
  for (const [key, words] of lines) {
    const term = element("dt");
    term.append(element("kbd", key));
    $("keys").append(term, element("dd", words));
  }
}

begin().catch((error) => say(error.message));
