/** Training and the line that says what the head learnt from; the next image; states of the image. */
import { postJson } from "../api/requests";
import type { Outbox } from "../api/outbox";
import type { ImageState } from "../api/wire";
import { byId, setPressed } from "../base/dom";
import { watchAll } from "../base/signal";
import type { Desk } from "../state/desk";
import type { Masks } from "../state/masks";
import type { Notices } from "./notices";

export class Learning {
  constructor(
    readonly desk: Desk,
    readonly masks: Masks,
    readonly outbox: Outbox,
    readonly notices: Notices,
  ) {
    byId("train", HTMLButtonElement).addEventListener("click", () => this.train());
    byId("continuous", HTMLButtonElement).addEventListener("click", () => this.toggleContinuous());
    byId("suggest", HTMLButtonElement).addEventListener("click", () => void this.suggest());
    for (const state of ["full", "reviewed"] as const) {
      byId(`state-${state}`, HTMLButtonElement).addEventListener("click", () => this.toggleState(state));
    }
    watchAll([desk.learner], () => this.#showLearner());
    watchAll([desk.images, desk.image, desk.variant, masks.changes, desk.learner], () => this.#showMask());
  }

  train(): void {
    void this.notices.attempt(() => postJson("/api/train", { mode: "once" }));
  }

  toggleContinuous(): void {
    const mode = this.desk.learner.value.continuous ? "stop" : "continuous";
    void this.notices.attempt(() => postJson("/api/train", { mode }));
  }

  /** Open the image whose labels would teach most. */
  async suggest(): Promise<void> {
    const next = await this.notices.attempt(() => postJson<{ image: number; why: string }>("/api/suggest", {}));
    if (next === null) return;
    this.desk.image.set(next.image);
    this.notices.say(`Next: ${this.desk.open.id}: ${next.why}`);
  }

  /** Give the image that state; where it has it, it is scribbled again. */
  toggleState(state: Extract<ImageState, "full" | "reviewed">): void {
    const { image, state: before, locked } = this.desk.open;
    if (locked) return;
    const after = before === state ? "scribbled" : state;
    this.outbox.post("/api/states", { image, state: after });
  }

  #showLearner(): void {
    const { line, busy, continuous } = this.desk.learner.value;
    const shown = byId("learner-line", HTMLElement);
    shown.textContent = shown.title = line;
    byId("learner-busy", HTMLElement).hidden = !busy;
    setPressed(byId("continuous", HTMLButtonElement), continuous);
  }

  #showMask(): void {
    const { state, ready, locked } = this.desk.open;
    const mask = this.masks.newest(this.desk.image.value, this.desk.variant.value);
    const stale = this.masks.isStale(this.desk);
    byId("stale", HTMLElement).hidden = !stale;
    byId("coarse", HTMLElement).hidden = stale || mask?.stage !== "coarse";
    byId("not-ready", HTMLElement).hidden = ready || locked;
    for (const one of ["full", "reviewed"] as const) {
      const button = byId(`state-${one}`, HTMLButtonElement);
      setPressed(button, state === one);
      button.disabled = locked;
    }
  }
}
