/** What lies above the image and how strongly; brightness and contrast of the image itself. */
import { byId } from "../base/dom";
import type { Signal } from "../base/signal";
import { watchAll } from "../base/signal";
import type { Desk, LayerName } from "../state/desk";
import type { Viewer } from "../viewer/viewer";

const LAYERS: readonly LayerName[] = ["labels", "mask", "uncertainty", "errors"];

function bindSlider(id: string, signal: Signal<number>): void {
  const slider = byId(id, HTMLInputElement);
  slider.addEventListener("input", () => signal.set(slider.valueAsNumber / 100));
  signal.watch((value) => {
    slider.valueAsNumber = Math.round(100 * value);
    slider.setAttribute("aria-valuetext", `${Math.round(100 * value)} %`);
  });
}

export function setUpLayerPanel(desk: Desk, viewer: Viewer): void {
  for (const name of LAYERS) {
    const box = byId(`layer-${name}`, HTMLInputElement);
    box.addEventListener("change", () => desk.toggleLayer(name));
    desk.layers.watch((layers) => (box.checked = layers[name]));
  }
  bindSlider("label-opacity", desk.labelOpacity);
  bindSlider("mask-opacity", desk.maskOpacity);
  bindSlider("brightness", desk.brightness);
  bindSlider("contrast", desk.contrast);
  watchAll([desk.brightness, desk.contrast], () => viewer.setTone(desk.brightness.value, desk.contrast.value));
  byId("tone-reset", HTMLButtonElement).addEventListener("click", () => {
    desk.brightness.set(1);
    desk.contrast.set(1);
  });
  watchAll([desk.layers, desk.labelOpacity, desk.maskOpacity, desk.bare, desk.classes, desk.variant], () =>
    viewer.redraw(),
  );
}
