/** The dialog that lists all keys. */
import { byId, make } from "../base/dom";
import type { Binding } from "./bindings";

export class Help {
  readonly #dialog = byId("help-dialog", HTMLDialogElement);

  constructor() {
    byId("help", HTMLButtonElement).addEventListener("click", () => this.open());
  }

  /** List the bindings, group by group. */
  list(bindings: readonly Binding[]): void {
    const groups = [...new Set(bindings.map(({ group }) => group))];
    byId("help-keys", HTMLElement).replaceChildren(
      ...groups.map((group) =>
        make(
          "section",
          {},
          make("h3", {}, group),
          make("dl", {}, ...bindings.filter((one) => one.group === group && one.shown !== "").map((one) => row(one))),
        ),
      ),
    );
  }

  open(): void {
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}

function row({ shown, does }: Binding): HTMLElement {
  const keys = shown.split(" or ").flatMap((key, i) => [i > 0 ? " or " : "", make("kbd", {}, key)]);
  return make("div", {}, make("dt", {}, ...keys), make("dd", {}, does));
}
