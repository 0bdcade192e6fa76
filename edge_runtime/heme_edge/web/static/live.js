// The live picture: asked for anew when the last one has come, so that a slow line skips frames.
import { $, element } from "./server.js";

const LIVE_MS = 250;
let shown = { number: 0, at: 0, age: 0 };
let url = "";

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

export async function watch() {
  for (;;) {
    if (document.hidden) { await wait(500); continue; }
    try {
      await next();
    } catch {
      await wait(1000);
    }
  }
}

async function next() {
  const source = Number($("source").value) || 0;
  const response = await fetch(`/live.jpg?source=${source}&after=${shown.number}`);
  if (response.status === 204) return;
  if (!response.ok) return wait(1000);
  const blob = await response.blob();
  if (source !== (Number($("source").value) || 0)) return;
  const age = Number(response.headers.get("x-age-ms"));
  shown = { number: Number(response.headers.get("x-picture")), at: performance.now(), age };
  const last = url;
  $("picture").src = url = URL.createObjectURL(blob);
  $("picture").hidden = false;
  $("no-picture").hidden = true;
  await $("picture").decode().catch(() => {});
  if (last) URL.revokeObjectURL(last);
}

export function showSource(state) {
  const sources = state.sources;
  if ($("source").length !== sources.length) {
    $("source").replaceChildren(...sources.map((one) => element("option", `${one.number}: ${one.name}`, { value: one.number })));
    $("source-label").hidden = sources.length < 2;
  }
  const one = sources[Number($("source").value) || 0];
  if (!one) return;
  $("focus").value = one.focus;
  $("focus-words").textContent = one.focus >= 0.5 ? `sharp (${one.focus.toFixed(2)})` : `not sharp (${one.focus.toFixed(2)})`;
  $("picture-words").textContent = words(one);
}

function words(one) {
  const since = shown.number ? shown.age + performance.now() - shown.at : 0;
  const late = shown.age > LIVE_MS ? `Not live: the picture was ${shown.age} ms old when it came. ` : "";
  const still = since > 2000 ? `No new picture for ${(since / 1000).toFixed(0)} s. ` : late;
  const why = one.not_used ? `, not used: ${one.not_used}` : "";
  return `${still}${one.words}. Frame ${one.frame}: ${one.in_view} cells in view, ${one.counted} counted, ${one.age_ms} ms old when analysed${why}.`;
}

export function startLive() {
  $("zoom").addEventListener("change", () => { $("picture-frame").className = `zoom-${$("zoom").value}`; });
  $("source").addEventListener("change", () => { shown = { number: 0, at: 0, age: 0 }; });
  watch();
}
