/** Export: a trained run or masks, with progress and where the result lies. */
import { postJson } from "../api/requests";
import type { ExportProgress } from "../api/wire";
import { byId } from "../base/dom";
import type { Desk } from "../state/desk";
import type { Notices } from "./notices";

const KINDS = ["run", "masks"] as const;

export class Export {
  readonly #dialog = byId("export-dialog", HTMLDialogElement);

  constructor(
    desk: Desk,
    readonly notices: Notices,
  ) {
    byId("export", HTMLButtonElement).addEventListener("click", () => this.#dialog.showModal());
    byId("export-out", HTMLElement).textContent = desk.out;
    for (const kind of KINDS) byId(`export-${kind}`, HTMLButtonElement).addEventListener("click", () => void this.#start(kind));
  }

  /** Take news of the export that runs. */
  show({ line, done, problem, result }: ExportProgress): void {
    this.#setBusy(!done);
    const shown = byId("export-line", HTMLElement);
    shown.textContent = problem ?? (done && result !== null ? `Written to ${result}` : line);
    shown.dataset["kind"] = problem !== null ? "problem" : done ? "done" : "running";
    if (this.#dialog.open || !done) return;
    if (problem !== null) this.notices.problem(problem);
    else this.notices.say(shown.textContent ?? "");
  }

  async #start(kind: (typeof KINDS)[number]): Promise<void> {
    this.#setBusy(true);
    byId("export-line", HTMLElement).textContent = "Starting…";
    const started = await this.notices.attempt(() => postJson("/api/export", { kind }));
    if (started !== null) return;
    this.#setBusy(false);
    byId("export-line", HTMLElement).textContent = "";
  }

  #setBusy(busy: boolean): void {
    byId("export-bar", HTMLElement).hidden = !busy;
    for (const kind of KINDS) byId(`export-${kind}`, HTMLButtonElement).disabled = busy;
  }
}
