/** Short messages: said aloud by screen readers, gone after a while; problems stay until they are closed. */
import { byId, icon, make } from "../base/dom";

const SHOWN_MS = 5_000;
const N_MOST = 3;

export class Notices {
  readonly #status = byId("notices", HTMLElement);
  readonly #alerts = byId("alerts", HTMLElement);

  say(text: string): void {
    this.#status.replaceChildren(make("p", { className: "notice" }, text));
    const notice = this.#status.firstElementChild;
    window.setTimeout(() => notice?.remove(), SHOWN_MS);
  }

  problem(text: string): void {
    const same = [...this.#alerts.children].find((one) => one.firstElementChild?.textContent === text);
    same?.remove();
    const close = make("button", { type: "button", className: "plain", "aria-label": "Close the message" }, icon("close"));
    const alert = make("div", { className: "notice problem", role: "alert" }, make("span", {}, text), close);
    close.addEventListener("click", () => alert.remove());
    this.#alerts.append(alert);
    while (this.#alerts.childElementCount > N_MOST) this.#alerts.firstElementChild?.remove();
  }

  /** The result of a request; null where it failed, which is said. */
  async attempt<T>(request: () => Promise<T>): Promise<T | null> {
    try {
      return await request();
    } catch (error) {
      this.problem(error instanceof Error ? error.message : String(error));
      return null;
    }
  }
}
