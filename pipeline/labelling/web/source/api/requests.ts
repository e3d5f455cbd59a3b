/** JSON to and from our own server; nothing is ever asked of another one. */

/** The server's refusal of a request: sending it again would change nothing. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The server was not reached, or could not answer now. */
export class Unreachable extends Error {}

/** This browser's session is not (or no longer) signed in. */
export class SignedOut extends Unreachable {}

interface ErrorBody {
  readonly error?: { readonly what?: string; readonly got?: string; readonly expected?: string; readonly do?: string };
}

async function asError(response: Response): Promise<Error> {
  if (response.status === 401) {
    return new SignedOut("This page is signed out. Open the address that the terminal shows.");
  }
  if (response.status >= 500) return new Unreachable(`The server answered ${response.status}.`);
  const body = (await response.json().catch(() => ({}))) as ErrorBody;
  const { what, got, expected, do: remedy } = body.error ?? {};
  const facts = [what, got && `got ${got}`, expected && `expected ${expected}`, remedy].filter(Boolean).join("; ");
  return new Refused(response.status, facts || `The server refused (${response.status}).`);
}

async function ask(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...init });
  } catch {
    throw new Unreachable("The server cannot be reached.");
  }
  if (!response.ok) throw await asError(response);
  return response;
}

export async function getJson<T>(path: string): Promise<T> {
  return (await ask(path, {})).json() as Promise<T>;
}

/** The octets of one tile. */
export async function getOctets(path: string, signal: AbortSignal): Promise<Uint8Array> {
  return new Uint8Array(await (await ask(path, { signal })).arrayBuffer());
}

export async function postJson<T>(path: string, body: unknown): Promise<T> {
  const response = await ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(30_000),
  });
  return response.json() as Promise<T>;
}
