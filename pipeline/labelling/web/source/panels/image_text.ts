/** The image's text: edited in place, and which text the mask on show was made with. */
import { postJson } from "../api/requests";
import type { Outbox } from "../api/outbox";
import type { Variant } from "../api/wire";
import { afterPause, byId } from "../base/dom";
import { watchAll } from "../base/signal";
import type { Desk } from "../state/desk";
import type { Notices } from "./notices";

const VARIANTS: readonly Variant[] = ["own", "none", "other"];

export class ImageText {
  readonly #text = byId("image-text", HTMLTextAreaElement);
  readonly #other = byId("other-text", HTMLTextAreaElement);
  /** The image whose text is in the field. */
  #image = -1;
  #known = "";

  constructor(
    readonly desk: Desk,
    readonly outbox: Outbox,
    readonly notices: Notices,
  ) {
    this.#text.addEventListener("blur", () => this.save());
    this.#text.addEventListener("keydown", (event) => this.#onKey(event));
    window.addEventListener("pagehide", () => this.save());
    window.addEventListener("beforeunload", () => this.save(), { capture: true });
    watchAll([desk.image, desk.images], () => this.#show());
    this.#setUpVariants();
  }

  focus(): void {
    this.#text.focus();
  }

  /** Send the text if it was edited. */
  save(): void {
    const text = this.#text.value.trim();
    if (this.#image < 0 || text === this.#known) return;
    this.#known = text;
    this.outbox.post("/api/texts", { image: this.#image, text });
    this.desk.changeImage(this.#image, { text });
  }

  #onKey(event: KeyboardEvent): void {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.save();
    }
    if (event.key === "Escape") this.#text.blur();
  }

  #show(): void {
    const { image, text, locked } = this.desk.open;
    if (image !== this.#image) {
      this.save();
      this.#image = image;
    } else if (this.#text.value.trim() !== this.#known) {
      return; // Being edited: what comes from elsewhere waits.
    }
    this.#known = text;
    this.#text.value = text;
    this.#text.disabled = locked;
  }

  #setUpVariants(): void {
    const { desk } = this;
    for (const variant of VARIANTS) {
      const choice = byId(`variant-${variant}`, HTMLInputElement);
      choice.addEventListener("change", () => desk.variant.set(variant));
      desk.variant.watch((chosen) => (choice.checked = chosen === variant));
    }
    const ask = afterPause(400, () => void this.#preview());
    this.#other.addEventListener("input", () => {
      desk.otherText.set(this.#other.value);
      ask();
    });
    watchAll([desk.variant, desk.image], () => {
      byId("other-field", HTMLElement).hidden = desk.variant.value !== "other";
      if (desk.variant.value === "other") ask();
    });
    desk.learner.watch(({ has_text_encoder, text_used, line }) => {
      byId("no-text-encoder", HTMLElement).hidden = has_text_encoder;
      byId("text-unused", HTMLElement).hidden = !has_text_encoder || text_used || !/^learnt/i.test(line);
    });
  }

  async #preview(): Promise<void> {
    const text = this.desk.otherText.value.trim();
    if (this.desk.variant.value !== "other" || text === "" || this.desk.open.locked) return;
    await this.notices.attempt(() => postJson("/api/preview", { image: this.desk.image.value, text }));
  }
}
