// The differential: classes under their lineages, the M:E ratio, the goal.
import { $, element, interval, percent, LINEAGES } from "./server.js";

// Without p (pause) and z (undo).
const KEYS = "1234567890qwertyuioasdfghjklxcvbnm";
const rows = new Map();

// Lineages together, each in the order of maturation, which is the order of keys and rows.
export function inOrder(classes) {
  const lineages = [...new Set(classes.map((one) => one.lineage))];
  const place = (one) => 100 * lineages.indexOf(one.lineage) + one.maturation;
  return [...classes].sort((one, other) => place(one) - place(other));
}

export const keyOf = (classes) => new Map(classes.map((one, at) => [KEYS[at], one.code]));

export function layTable(classes) {
  const body = $("classes").tBodies[0];
  const keys = new Map(classes.map((one, at) => [one.code, KEYS[at]]));
  body.replaceChildren();
  rows.clear();
  for (const lineage of new Set(classes.map((one) => one.lineage))) {
    const name = element("th", ` ${lineage}`, { scope: "row" });
    const sign = element("span", LINEAGES[lineage].sign, { "aria-hidden": "true" });
    sign.style.color = LINEAGES[lineage].colour;
    name.prepend(sign);
    const head = line(lineage, [element("td"), name]);
    head.className = "lineage";
    body.append(head);
    for (const one of classes.filter((c) => c.lineage === lineage)) {
      const key = element("td");
      key.append(element("kbd", keys.get(one.code)));
      const row = line(one.code, [key, element("th", `${one.code} ${one.name}`, { scope: "row" })]);
      row.className = "class";
      row.dataset.code = one.code;
      body.append(row);
    }
  }
}

function line(name, cells) {
  const row = element("tr");
  row.append(...cells, ...[1, 2, 3].map(() => element("td", "", { class: "number" })));
  rows.set(name, row);
  return row;
}

export function showFigures(figures) {
  for (const one of figures.classes) fill(one.code, one);
  for (const one of figures.lineages) fill(one.lineage, one);
  $("tally-words").textContent = `${figures.total} nucleated cells counted`;
  const out = Object.entries(figures.left_out).map(([reason, count]) => `${count} ${reason}`);
  $("left-out").textContent = `Not counted: ${out.join(", ") || "none"}. Red cells are never searched for.`;
  $("me").textContent = ratio(figures.me);
  $("goal").textContent = goal(figures.goal, figures.total);
}

function fill(name, one) {
  const cells = rows.get(name)?.cells;
  if (!cells) return;
  [String(one.count), percent(one.percent), interval(one)].forEach((text, at) => {
    if (cells[at + 2].textContent !== text) cells[at + 2].textContent = text;
  });
}

function ratio(me) {
  const number = (value) => (value === null ? "no upper bound" : value.toFixed(2));
  const formula = `M = ${me.m_codes.join(" + ")}; E = ${me.e_codes.join(" + ")}; other classes are in neither`;
  if (!me.e) return `M:E ratio: not known, no erythroid cell counted (${me.m} : ${me.e}). ${formula}.`;
  return `M:E ratio ${me.m} : ${me.e} = ${me.ratio.toFixed(2)} (95 %: ${number(me.low95)} – ${number(me.high95)}). ${formula}.`;
}

function goal({ target, rule, reached }, total) {
  const parts = [];
  if (target) parts.push(total >= target ? `Target of ${target} cells reached.` : `${target - total} cells to the target of ${target}.`);
  if (rule) parts.push(ruled(rule));
  if (reached) parts.push("Counting can end.");
  return parts.join(" ");
}

function ruled(rule) {
  const at = `${rule.code} ${interval(rule)} % at all looks together`;
  if (rule.side !== "open") return `${at}: ${rule.side} ${rule.percent} %.`;
  const more = rule.more === null ? "more than can be said" : `about ${rule.more} more cells, if the share stays as it is`;
  return `${at}: not clear of ${rule.percent} % yet; ${more}.`;
}
