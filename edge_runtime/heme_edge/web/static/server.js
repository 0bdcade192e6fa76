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

// Asks for what is shown, unasked: its success says nothing of a refusal that a person was told.
export async function background(action) {
  try {
    return await action();
  } catch (error) {
    say(error.message);
    return null;
  }
}

export const percent = (value) => value.toFixed(1);
export const interval = (row) => `${percent(row.low95)} – ${percent(row.high95)}`;

// Colour, sign in the table, and corners and turn (in eighths) of the same sign on the map.
export const LINEAGES = {
  granulocytic: { colour: "#0072b2", sign: "●", corners: 16, turn: 0 },
  erythroid: { colour: "#d55e00", sign: "■", corners: 4, turn: 1 },
  lymphoid: { colour: "#00825f", sign: "▲", corners: 3, turn: 2 },
  monocytic: { colour: "#8c3c8c", sign: "◆", corners: 4, turn: 0 },
  megakaryocytic: { colour: "#aa7800", sign: "⬢", corners: 6, turn: 0 },
  other: { colour: "#464646", sign: "▼", corners: 3, turn: 6 },
};
