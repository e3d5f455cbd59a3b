/** A value that tells who watches it when it is replaced. Values are never changed in place. */
export class Signal<T> {
  #value: T;
  readonly #watchers = new Set<(value: T, before: T) => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  /** Replace the value; watchers are called where it is another one. */
  set(value: T): void {
    const before = this.#value;
    if (Object.is(before, value)) return;
    this.#value = value;
    for (const watcher of [...this.#watchers]) watcher(value, before);
  }

  /** Replace the value by a function of it. */
  update(change: (value: T) => T): void {
    this.set(change(this.#value));
  }

  /** Call `watcher` with each later value. */
  changed(watcher: (value: T, before: T) => void): void {
    this.#watchers.add(watcher);
  }

  /** Call `watcher` with the present value and with each later one. */
  watch(watcher: (value: T) => void): void {
    watcher(this.#value);
    this.changed(watcher);
  }
}

/** Call `show` now and, once a frame at most, after any of the signals changed. */
export function watchAll(signals: readonly Signal<never>[] | readonly Signal<any>[], show: () => void): void {
  let waiting = false;
  const later = (): void => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => {
      waiting = false;
      show();
    });
  };
  for (const signal of signals) signal.changed(later);
  show();
}
