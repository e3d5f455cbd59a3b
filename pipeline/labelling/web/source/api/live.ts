/**
 * The server's events, which keep the tabs in step. A tab out of sight lets go of its connection after a while: a browser
 * opens six to one server, and every one that listens holds one.
 */
import type { LiveEvent } from "./wire";

const HIDDEN_MS = 60_000;
const RETRY_MS = 1_500;

export interface Listener {
  /** An event. */
  heard(event: LiveEvent): void;
  /** The connection is there (again): whatever was missed has to be fetched. */
  connected(): void;
  disconnected(): void;
}

export class Live {
  readonly #listener: Listener;
  #source: EventSource | null = null;
  #timer = 0;

  constructor(listener: Listener) {
    this.#listener = listener;
    document.addEventListener("visibilitychange", () => this.#onVisibility());
    this.#open();
  }

  #open(): void {
    window.clearTimeout(this.#timer);
    this.#source?.close();
    const source = new EventSource("/api/events");
    this.#source = source;
    source.onopen = () => this.#listener.connected();
    source.onmessage = (message) => this.#listener.heard(JSON.parse(message.data as string) as LiveEvent);
    source.onerror = () => {
      this.#listener.disconnected();
      if (source.readyState === EventSource.CLOSED) this.#timer = window.setTimeout(() => this.#open(), RETRY_MS);
    };
  }

  #onVisibility(): void {
    window.clearTimeout(this.#timer);
    if (document.hidden) {
      this.#timer = window.setTimeout(() => {
        this.#source?.close();
        this.#source = null;
      }, HIDDEN_MS);
    } else if (this.#source === null || this.#source.readyState === EventSource.CLOSED) {
      this.#open();
    }
  }
}
