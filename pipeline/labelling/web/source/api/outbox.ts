/**
 * What must not be lost, on its way to the server: sent in order, one at a time, and again after a failure.
 *
 * Each message carries a key of its own, so that the server does once what arrives twice. The messages that have no answer
 * yet are also kept in the tab's storage and sent after a reload.
 */
import { Signal } from "../base/signal";
import { postJson, Refused, SignedOut } from "./requests";

export type Saving = "saved" | "saving" | "offline" | "signed out";

export interface Message {
  readonly path: string;
  readonly body: { readonly key: string; readonly [name: string]: unknown };
}

export type Answer = { readonly saved: unknown } | { readonly refused: Error };

/** A random UUID (version 4); `crypto.randomUUID` is missing on pages that come from another machine without TLS. */
function newKey(): string {
  const octets = crypto.getRandomValues(new Uint8Array(16));
  octets[6] = (octets[6]! & 0x0f) | 0x40;
  octets[8] = (octets[8]! & 0x3f) | 0x80;
  const digits = Array.from(octets, (octet) => octet.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8_000;

export class Outbox {
  readonly saving = new Signal<Saving>("saved");
  readonly #storage: string;
  readonly #answered: (message: Message, answer: Answer) => void;
  #queue: Message[];
  #sending = false;
  #waitMs = FIRST_WAIT_MS;
  #timer = 0;

  /** `session` tells this data set and annotator from others that the browser may know. */
  constructor(session: string, answered: (message: Message, answer: Answer) => void) {
    this.#storage = `textdiff-label:${session}`;
    this.#answered = answered;
    this.#queue = JSON.parse(sessionStorage.getItem(this.#storage) ?? "[]") as Message[];
    window.addEventListener("online", () => this.sendNow());
    window.addEventListener("beforeunload", (event) => {
      if (this.#queue.length > 0) event.preventDefault();
    });
    void this.#send();
  }

  /** Messages without an answer, oldest first. */
  get waiting(): readonly Message[] {
    return this.#queue;
  }

  /** Put a message at the end of the queue. */
  post(path: string, body: Record<string, unknown>): string {
    const key = newKey();
    this.#queue.push({ path, body: { ...body, key } });
    this.#keep();
    void this.#send();
    return key;
  }

  /** Try again at once: the connection is back. */
  sendNow(): void {
    window.clearTimeout(this.#timer);
    this.#waitMs = FIRST_WAIT_MS;
    void this.#send();
  }

  async #send(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    try {
      for (let message = this.#queue[0]; message !== undefined; message = this.#queue[0]) {
        if (this.saving.value === "saved") this.saving.set("saving");
        const answer = await this.#answerTo(message);
        if (answer === null) return;
        this.#queue.shift();
        this.#keep();
        this.#waitMs = FIRST_WAIT_MS;
        this.saving.set(this.#queue.length > 0 ? "saving" : "saved");
        this.#answered(message, answer);
      }
    } finally {
      this.#sending = false;
    }
  }

  /** The answer to a message; null where the server was not reached: the message stays, for later. */
  async #answerTo(message: Message): Promise<Answer | null> {
    try {
      return { saved: await postJson(message.path, message.body) };
    } catch (error) {
      if (error instanceof Refused) return { refused: error };
      this.saving.set(error instanceof SignedOut ? "signed out" : "offline");
      this.#timer = window.setTimeout(() => void this.#send(), this.#waitMs);
      this.#waitMs = Math.min(2 * this.#waitMs, LONGEST_WAIT_MS);
      return null;
    }
  }

  #keep(): void {
    try {
      if (this.#queue.length > 0) sessionStorage.setItem(this.#storage, JSON.stringify(this.#queue));
      else sessionStorage.removeItem(this.#storage);
    } catch {
      // The storage is full: the messages stay in memory, and leaving the page is warned of.
    }
  }
}
