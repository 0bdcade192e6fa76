// A photo from the browser is named, shown, and not kept.
import { $, attempt, element, send } from "./server.js";

export function startPhotos() {
  $("upload-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const file = $("file").files[0];
    const query = new URLSearchParams({ kind: $("kind").value, um_per_px: $("um").value });
    $("upload-words").textContent = `Naming the cells of ${file.name} …`;
    const found = await attempt(() => send(`/api/upload?${query}`, file));
    $("upload-words").textContent = found ? words(file.name, found) : "";
    if (found) show(found);
  });
}

const words = (name, found) =>
  `${name}: ${found.cells.length} cells, ${found.counted} counted; ${found.scale}; ${found.field || "single cell"}; model ${found.bundle}. Research use only.`;

function show(found) {
  $("upload-picture").hidden = !found.picture;
  if (found.picture) {
    const bytes = Uint8Array.from(atob(found.picture), (letter) => letter.charCodeAt(0));
    URL.revokeObjectURL($("upload-picture").src);
    $("upload-picture").src = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
  }
  $("upload-cells").hidden = false;
  $("upload-cells").tBodies[0].replaceChildren(...found.cells.map(row));
}

function row(cell) {
  const made = element("tr");
  made.append(
    element("td", cell.code),
    element("td", `${(100 * cell.probability).toFixed(1)} %`, { class: "number" }),
    element("td", `${cell.second_code} ${(100 * cell.second_probability).toFixed(1)} %`),
    element("td", cell.reason ? `no: ${cell.reason}` : "yes"),
  );
  return made;
}
