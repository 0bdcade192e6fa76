// A cell is dragged onto a class: with the mouse at once, with a finger after holding it.
import { $, element } from "./server.js";
import { choose, correct } from "./gallery.js";

const HOLD_MS = 300;
const FAR_PX = 6;
let drag = null;

export function fillTray(classes) {
  const one = (c) => { const made = element("span", `${c.code} ${c.name}`); made.dataset.code = c.code; return made; };
  $("tray").replaceChildren(...classes.map(one));
}

export function startDrag() {
  $("cells").addEventListener("pointerdown", press);
  document.addEventListener("pointermove", move);
  document.addEventListener("pointerup", drop);
  document.addEventListener("pointercancel", end);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") end(); });
  $("cells").addEventListener("touchmove", (event) => { if (drag?.under) event.preventDefault(); }, { passive: false });
}

function press(event) {
  const item = event.target.closest("li");
  if (!item || event.button) return;
  drag = { item, x: event.clientX, y: event.clientY, touch: event.pointerType === "touch", under: false, target: null };
  if (drag.touch) drag.timer = setTimeout(begin, HOLD_MS);
}

function begin() {
  drag.under = true;
  choose(drag.item);
  $("ghost").replaceChildren(drag.item.querySelector("img").cloneNode());
  $("ghost").hidden = false;
  $("tray").hidden = false;
  document.body.classList.add("dragging");
  place(drag.x, drag.y);
}

function move(event) {
  if (!drag) return;
  const far = Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > FAR_PX;
  if (!drag.under && far) { if (drag.touch) return end(); begin(); }
  if (!drag.under) return;
  place(event.clientX, event.clientY);
  const target = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-code]");
  if (target === drag.target) return;
  drag.target?.classList.remove("over");
  target?.classList.add("over");
  drag.target = target || null;
}

function place(x, y) {
  $("ghost").style.transform = `translate(${x - 36}px, ${y - 36}px)`;
}

function drop() {
  const { item, target, under } = drag || {};
  end();
  if (under && target) correct(Number(item.dataset.id), target.dataset.code);
}

function end() {
  if (!drag) return;
  clearTimeout(drag.timer);
  drag.target?.classList.remove("over");
  document.body.classList.remove("dragging");
  $("ghost").hidden = $("tray").hidden = true;
  drag = null;
}
