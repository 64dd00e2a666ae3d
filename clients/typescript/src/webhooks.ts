/** Verifies that a webhook is Zapline's, whole and of now, as the Standard Webhooks say; by the platform's own crypto. */
import { InvalidWebhook } from "./errors.js";
import type { webhooks } from "./schema.js";

type Told<Name extends keyof webhooks> = webhooks[Name] extends {
  post: { requestBody: { content: { "application/json": infer Body } } };
}
  ? Omit<Body, "type"> & { type: Name }
  : never;
/** What a webhook tells; `type` says which. */
export type WebhookEvent = { [Name in keyof webhooks]: Told<Name> }[keyof webhooks];

/** A webhook that was verified. `id` is the same at each try: drop what you have seen. */
export interface Delivery {
  id: string;
  event: WebhookEvent;
}

/** Headers as `fetch` or Node have them. */
export type WebhookHeaders = Headers | Record<string, string | string[] | undefined>;
const TOLERANCE_SECONDS = 300;

/** Verifies with one secret, or with several: of more hooks, or the old and the new one while it is rotated. */
export class Webhooks {
  private readonly keys: Promise<CryptoKey>[];

  /** Throws TypeError for a text that is no secret. */
  constructor(...secrets: string[]) {
    if (secrets.length === 0) throw new TypeError("a hook's secret is needed: `whsec_...`, from the answer to POST .../hooks");
    const hmac = { name: "HMAC", hash: "SHA-256" };
    this.keys = secrets.map((secret) => crypto.subtle.importKey("raw", keyOf(secret), hmac, false, ["verify"]));
  }

  /** The event of a webhook; `body` as it came, before anything has parsed it. Throws InvalidWebhook. */
  async verify(headers: WebhookHeaders, body: string | Uint8Array): Promise<Delivery> {
    const id = valueOf(headers, "webhook-id");
    const timestamp = valueOf(headers, "webhook-timestamp");
    const signatures = valueOf(headers, "webhook-signature");
    if (!/^\d{1,12}$/.test(timestamp)) throw new InvalidWebhook("webhook-timestamp is no time");
    if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) throw new InvalidWebhook("too old or too new");
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    const head = new TextEncoder().encode(`${id}.${timestamp}.`);
    const signed = new Uint8Array(head.length + bytes.length);
    signed.set(head);
    signed.set(bytes, head.length);
    for (const signature of signatures.split(" ")) {
      const given = signature.startsWith("v1,") ? decode(signature.slice(3)) : undefined;
      if (given === undefined) continue;
      for (const key of this.keys) {
        if (await crypto.subtle.verify("HMAC", await key, given, signed)) return { id, event: eventOf(bytes) };
      }
    }
    throw new InvalidWebhook("no signature is by one of the secrets");
  }
}

function keyOf(secret: string): Uint8Array<ArrayBuffer> {
  const key = decode(secret.replace(/^whsec_/, ""));
  if (key === undefined || key.length === 0) throw new TypeError("this is no hook's secret, which is `whsec_` and base64");
  return key;
}

function decode(base64: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined;
  try {
    return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function valueOf(headers: WebhookHeaders, name: string): string {
  const found =
    headers instanceof Headers
      ? headers.get(name)
      : Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1];
  const value = Array.isArray(found) ? found[0] : found;
  if (!value) throw new InvalidWebhook(`no ${name}`);
  return value;
}

function eventOf(bytes: Uint8Array): WebhookEvent {
  let event: unknown;
  try {
    event = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new InvalidWebhook("signed, but not JSON");
  }
  if (typeof event !== "object" || event === null || typeof (event as WebhookEvent).type !== "string" || !("data" in event)) {
    throw new InvalidWebhook("signed, but no event");
  }
  return event as WebhookEvent;
}
