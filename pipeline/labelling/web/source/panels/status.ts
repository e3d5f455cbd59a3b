/** The head of the page: what is saved, how far the cache is; the foot: where the pointer is. */
import type { Saving } from "../api/outbox";
import { byId } from "../base/dom";
import { counted } from "../base/format";
import { type Signal, watchAll } from "../base/signal";
import type { Desk } from "../state/desk";
import type { Viewer } from "../viewer/viewer";

const SAVING_WORDS: Readonly<Record<Saving, string>> = {
  saved: "Saved",
  saving: "Saving…",
  offline: "Offline: kept here, sent when the server is back",
  "signed out": "Signed out: open the address that the terminal shows",
};

export function setUpStatus(desk: Desk, saving: Signal<Saving>): void {
  byId("session-title", HTMLElement).textContent = desk.title;
  byId("annotator", HTMLElement).textContent = desk.annotator;
  document.title = `${desk.title} – textdiff label`;
  const save = byId("saving", HTMLElement);
  watchAll([saving, desk.online], () => {
    const state = saving.value === "saved" && !desk.online.value ? "offline" : saving.value;
    save.dataset["saving"] = state;
    save.textContent = state === "offline" && saving.value === "saved" ? "Offline" : SAVING_WORDS[state];
  });
  desk.cache.watch(({ ready, total, line, running, problem, better, sources }) => {
    const bar = byId("cache-bar", HTMLProgressElement);
    byId("cache", HTMLElement).hidden = !running && problem === null && ready >= total;
    bar.hidden = !running;
    bar.max = Math.max(1, total);
    bar.value = ready;
    byId("cache-line", HTMLElement).textContent = problem ?? `Features of ${ready} of ${counted(total, "image")}`;
    byId("cache-step", HTMLElement).textContent = running ? line : "";
    byId("sources", HTMLElement).textContent = sources.join(", ");
    byId("better", HTMLElement).textContent = better;
    byId("features", HTMLElement).hidden = sources.length === 0 && better === "" && !running;
  });
}

/** Name, size, place and zoom, below the image. */
export function setUpFoot(desk: Desk, viewer: Viewer): void {
  const place = byId("place", HTMLElement);
  const zoom = byId("zoom-shown", HTMLElement);
  watchAll([desk.image, desk.images], () => {
    const { id, size, split, group } = desk.open;
    byId("image-name", HTMLElement).textContent = id;
    const facts = [`${size[1]} × ${size[0]} px`, split, group === id ? "" : group];
    byId("image-facts", HTMLElement).textContent = facts.filter(Boolean).join(" · ");
  });
  viewer.element.addEventListener("pointermove", ({ clientX, clientY }) => {
    const point = viewer.imagePoint(clientX, clientY);
    if (point !== null) place.textContent = `${Math.floor(point[0])}, ${Math.floor(point[1])}`;
  });
  viewer.element.addEventListener("pointerleave", () => (place.textContent = ""));
  viewer.osd.addHandler("update-viewport", () => {
    const scale = viewer.frame?.scale ?? 1;
    zoom.textContent = `${Math.round((100 * scale) / window.devicePixelRatio)} %`;
  });
}
