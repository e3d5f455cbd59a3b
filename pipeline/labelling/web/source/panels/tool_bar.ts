/** Tools, brush size, undo and redo, fit. */
import { byId, setPressed } from "../base/dom";
import { watchAll } from "../base/signal";
import { type Desk, LARGEST_BRUSH, type Tool } from "../state/desk";
import type { Strokes } from "../drawing/strokes";
import type { Viewer } from "../viewer/viewer";

const TOOLS: readonly Tool[] = ["brush", "eraser", "polygon", "bucket", "move"];

/** The slider's places are even steps of the logarithm: small brushes need the finer choice. */
const PLACES = 100;
const sizeAt = (place: number): number => Math.max(1, Math.round(LARGEST_BRUSH ** (place / PLACES)));
const placeOf = (size: number): number => Math.round((PLACES * Math.log(size)) / Math.log(LARGEST_BRUSH));

export function setUpToolBar(desk: Desk, strokes: Strokes, viewer: Viewer): void {
  for (const tool of TOOLS) {
    const button = byId(`tool-${tool}`, HTMLButtonElement);
    button.addEventListener("click", () => desk.tool.set(tool));
    desk.tool.watch((chosen) => setPressed(button, chosen === tool));
  }
  setUpSize(desk);
  const undo = byId("undo", HTMLButtonElement);
  const redo = byId("redo", HTMLButtonElement);
  undo.addEventListener("click", () => strokes.undo());
  redo.addEventListener("click", () => strokes.redo());
  watchAll([desk.history, desk.image, desk.images], () => {
    undo.disabled = desk.open.n_strokes === 0;
    redo.disabled = !desk.history.value.redo;
  });
  byId("fit", HTMLButtonElement).addEventListener("click", () => viewer.fit());
  byId("zoom-in", HTMLButtonElement).addEventListener("click", () => viewer.zoom(1.5));
  byId("zoom-out", HTMLButtonElement).addEventListener("click", () => viewer.zoom(1 / 1.5));
}

function setUpSize(desk: Desk): void {
  const slider = byId("brush-size", HTMLInputElement);
  const shown = byId("brush-size-shown", HTMLElement);
  slider.addEventListener("input", () => desk.brushSize.set(sizeAt(slider.valueAsNumber)));
  watchAll([desk.brushSize, desk.tool], () => {
    const size = desk.brushSize.value;
    if (sizeAt(slider.valueAsNumber) !== size) slider.valueAsNumber = placeOf(size);
    slider.setAttribute("aria-valuetext", `${size} pixels`);
    shown.textContent = `${size} px`;
    slider.disabled = desk.tool.value !== "brush" && desk.tool.value !== "eraser";
  });
}
