// What the server is asked, and one place where a refusal is told.

export const $ = (id) => document.getElementById(id);

export function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export function say(problem) {
  $("problem").textContent = problem;
  $("problem").hidden = !problem;
}

async function answer(response) {
  const type = response.headers.get("content-type") || "";
  const body = type.startsWith("application/json") ? await response.json() : {};
  if (!response.ok) throw new Error([body.error, body.hint].filter(Boolean).join(" Try: ") || `The page was refused (${response.status}).`);
  return body;
}

export const get = async (path) => answer(await fetch(path));

export async function post(path, body) {
  const headers = { "content-type": "application/json" };
  return answer(await fetch(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

export const send = async (path, file) =>
  answer(await fetch(path, { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file }));

// Does something that a person asked for; a refusal is told, and nothing else happens.
export async function attempt(action) {
  try {
    const result = await action();
    say("");
    return result;
  } catch (error) {
    say(error.message);
    return null;
  }
}

export const percent = (value) => value.toFixed(1);
export const interval = (row) => `${percent(row.low95)} – ${percent(row.high95)}`;

export const LINEAGES = {
  granulocytic: "#0072b2", erythroid: "#d55e00", lymphoid: "#00825f",
  monocytic: "#8c3c8c", megakaryocytic: "#aa7800", other: "#464646",
};
