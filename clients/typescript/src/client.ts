/** The client: each route by method and path, sends that happen once, and the live events of a unit. */
import { ZaplineError } from "./errors.js";
import { EventParser, type StreamEvent } from "./events.js";
import { Attempts, PATIENCE, mediaType, notByZapline, pause, problemOf, type Patience } from "./retries.js";
import type { components, paths } from "./schema.js";

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
/** The paths that know a method. */
export type PathOf<M extends Method> = {
  [P in keyof paths]: paths[P] extends Record<Lowercase<M>, unknown> ? P : never;
}[keyof paths];
type Operation<M extends Method, P extends keyof paths> = Lowercase<M> extends keyof paths[P] ? paths[P][Lowercase<M>] : never;
type PathPart<O> = O extends { parameters: { path: infer T } } ? { path: T } : { path?: undefined };
type QueryPart<O> = O extends { parameters: { query?: infer T } } ? { query?: T } : { query?: undefined };
type BodyPart<O> = O extends { requestBody: { content: { "application/json": infer B } } }
  ? { body: B }
  : O extends { requestBody?: { content: { "application/json": infer B } } }
    ? { body?: B }
    : { body?: undefined };
/** What a call is given; `signal` ends it. */
export type Options<O> = PathPart<O> & QueryPart<O> & BodyPart<O> & { signal?: AbortSignal };
type Good = 200 | 201 | 202 | 203 | 204;
type Content<R> = R extends { content: { "application/json": infer J } } ? J : undefined;
/** What a successful answer holds. */
export type Answer<O> = O extends { responses: infer R } ? { [S in keyof R & Good]: Content<R[S]> }[keyof R & Good] : never;
type Arguments<O> = {} extends Options<O> ? [options?: Options<O>] : [options: Options<O>];

type NewMessage = components["schemas"]["NewMessage"];
type Message = components["schemas"]["Message"];
type Accepted = Answer<Operation<"POST", "/units/{unit}/messages">>;

export interface ZaplineOptions {
  token?: string;
  /** Milliseconds of one try. */
  timeout?: number;
  patience?: Partial<Patience>;
  /** In place of the platform's own. */
  fetch?: typeof fetch;
}

const TIMEOUT = 40_000;
const SILENCE = 45_000;
const CLIENT_IDS = ["clientMessageId", "clientCampaignId"];
const STREAM_PATIENCE: Patience = { ...PATIENCE, first: 1, longest: 30 };

/** Talks to one Zapline with one token. Calls throw ZaplineProblem and Unanswered; what may be repeated is repeated. */
export class Zapline {
  private readonly base: string;
  private readonly patience: Patience;
  private readonly fetch: typeof fetch;

  constructor(url: string, private readonly options: ZaplineOptions = {}) {
    if (!/^https?:\/\//.test(url)) throw new TypeError("url is where Zapline is served, as https://zapline.example");
    this.base = url.replace(/\/+$/, "");
    this.patience = { ...PATIENCE, ...options.patience };
    this.fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
  }

  get<P extends PathOf<"GET">>(path: P, ...options: Arguments<Operation<"GET", P>>): Promise<Answer<Operation<"GET", P>>> {
    return this.json("GET", path, options[0]) as Promise<Answer<Operation<"GET", P>>>;
  }

  post<P extends PathOf<"POST">>(path: P, ...options: Arguments<Operation<"POST", P>>): Promise<Answer<Operation<"POST", P>>> {
    return this.json("POST", path, options[0]) as Promise<Answer<Operation<"POST", P>>>;
  }

  put<P extends PathOf<"PUT">>(path: P, ...options: Arguments<Operation<"PUT", P>>): Promise<Answer<Operation<"PUT", P>>> {
    return this.json("PUT", path, options[0]) as Promise<Answer<Operation<"PUT", P>>>;
  }

  patch<P extends PathOf<"PATCH">>(path: P, ...options: Arguments<Operation<"PATCH", P>>): Promise<Answer<Operation<"PATCH", P>>> {
    return this.json("PATCH", path, options[0]) as Promise<Answer<Operation<"PATCH", P>>>;
  }

  delete<P extends PathOf<"DELETE">>(path: P, ...options: Arguments<Operation<"DELETE", P>>): Promise<Answer<Operation<"DELETE", P>>> {
    return this.json("DELETE", path, options[0]) as Promise<Answer<Operation<"DELETE", P>>>;
  }

  /** The answer itself, for files and CSV; `timeout` ends with its head. `await (await client.raw("GET", "/units/{unit}/messages/{message}/media", ...)).blob()`. */
  raw(
    method: Method,
    path: keyof paths,
    options: {
      path?: Record<string, string | number>;
      query?: Record<string, string | number | boolean | undefined>;
      body?: string | Uint8Array<ArrayBuffer> | Blob;
      contentType?: string;
      signal?: AbortSignal;
    } = {},
  ): Promise<Response> {
    return this.request(method, path, options, undefined, async (response) => response);
  }

  /** Send a text to a phone, once, however often it takes to be told so. Give a `clientMessageId` of your own, as
   * `order-4711`, where it must not be sent again after your program has ended in the middle. */
  send(unit: string, to: string, text: string, clientMessageId?: string): Promise<Accepted> {
    return this.sendMessage(unit, { to, text, ...(clientMessageId === undefined ? {} : { clientMessageId }) });
  }

  /** Send a message of any kind; as `send`. */
  sendMessage(unit: string, message: Omit<NewMessage, "clientMessageId"> & { clientMessageId?: string }): Promise<Accepted> {
    const body = { ...message, clientMessageId: message.clientMessageId || crypto.randomUUID() } as NewMessage;
    return this.json("POST", "/units/{unit}/messages", { path: { unit }, body }) as Promise<Accepted>;
  }

  /** All messages behind this place, in the order of their arrival; then it ends. Keep `seq` of the last. */
  async *messagesSince(unit: string, afterSeq = 0): AsyncGenerator<Message> {
    for (;;) {
      const page = await this.get("/units/{unit}/messages", { path: { unit }, query: { afterSeq, limit: 200 } });
      yield* page.items;
      afterSeq = page.nextAfterSeq;
      if (!page.hasMore) return;
    }
  }

  /** Watch a unit live, across broken connections, until `signal`. It goes on behind the last event that was read;
   * where that is too long ago comes `reset`. Throws ZaplineProblem where asking again will not help, and Unanswered
   * where something else than Zapline answers. */
  events(unit: string, lastEventId = "", signal?: AbortSignal): AsyncGenerator<StreamEvent> {
    return this.stream("/units/{unit}/events", { unit }, lastEventId, signal);
  }

  /** The same for any route of the API that is a stream. */
  async *stream(
    path: string,
    values: Record<string, string>,
    lastEventId = "",
    signal?: AbortSignal,
    query: Record<string, string> = {},
  ): AsyncGenerator<StreamEvent> {
    const url = new URL(this.base + address(path, values) + queryText(query));
    let lastId = lastEventId, told = 1, failures = 0;
    while (!signal?.aborted) {
      let wait: number | undefined;
      const headers = new Headers({ ...this.headers(), accept: "text/event-stream", ...(lastId ? { "last-event-id": lastId } : {}) });
      const silence = new AbortController();
      const end = () => silence.abort();
      signal?.addEventListener("abort", end);
      let timer = setTimeout(end, SILENCE);
      let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
      try {
        const asked = { headers, redirect: "manual", signal: silence.signal } as const;
        const response = await network(this.fetch(String(url), asked));
        if (response.ok && mediaType(response) === "text/event-stream" && response.body !== null) {
          const parser = new EventParser(lastId);
          reader = response.body.getReader();
          for (;;) {
            const { done, value } = await network(reader.read());
            clearTimeout(timer); // whoever holds an event may take his time
            if (done) break;
            for (const event of parser.feed(value)) {
              lastId = parser.lastId;
              failures = 0;
              told = parser.retrySeconds ?? told;
              yield event;
            }
            lastId = parser.lastId; // a place may come without an event
            timer = setTimeout(end, SILENCE);
          }
        } else {
          const problem = response.ok ? undefined : await network(problemOf(response));
          if (problem !== undefined && !problem.retryable && problem.status < 500) throw problem;
          if (problem === undefined && response.status < 500) throw notByZapline(`GET ${path}`, response, true);
          wait = problem?.retryAfter;
        }
      } catch (error) {
        if (!(error instanceof Broken)) throw error;
      } finally {
        clearTimeout(timer);
        signal?.removeEventListener("abort", end);
        silence.abort(); // of a consumer that leaves early: the connection is closed
        reader?.cancel().catch(() => undefined);
      }
      failures += 1;
      const spread = Math.random();
      const own = failures === 1 ? told * (1 - spread / 2) : Math.max(told, pause(STREAM_PATIENCE, failures, spread));
      await sleep(Math.max(own, wait ?? 0), signal);
    }
  }

  private headers(): Record<string, string> {
    return this.options.token === undefined ? {} : { authorization: `Bearer ${this.options.token}` };
  }

  private async json(method: Method, path: string | number | symbol, options: Loose = {}): Promise<unknown> {
    const body = options.body === undefined ? {} : { body: JSON.stringify(options.body), contentType: "application/json" };
    const named = options.body as Record<string, unknown> | null | undefined;
    const clientId = CLIENT_IDS.map((name) => named?.[name]).find((id): id is string => typeof id === "string" && id !== "");
    return this.request(method, String(path), { ...options, ...body }, clientId, async (response, attempts) => {
      const text = await response.text();
      try {
        return text === "" ? undefined : (JSON.parse(text) as unknown);
      } catch {
        throw attempts.notByZapline(response);
      }
    });
  }

  /** `read` makes the result of a good answer, within the deadline; where the connection breaks in it, there was none. */
  private async request<T>(
    method: Method,
    path: string,
    options: Loose,
    clientId: string | undefined,
    read: (response: Response, attempts: Attempts) => Promise<T>,
  ): Promise<T> {
    const url = this.base + address(path, options.path ?? {}) + queryText(options.query ?? {});
    const headers = new Headers({ ...this.headers(), ...(options.contentType ? { "content-type": options.contentType } : {}) });
    const attempts = new Attempts(this.patience, method, path, clientId);
    for (;;) {
      let wait: number | undefined;
      const deadline = new AbortController();
      const timer = setTimeout(() => deadline.abort(), this.options.timeout ?? TIMEOUT);
      const signal = options.signal ? AbortSignal.any([deadline.signal, options.signal]) : deadline.signal;
      try {
        const body = options.body as BodyInit | undefined;
        const response = await this.fetch(url, { method, headers, body, signal, redirect: "manual" });
        wait = await attempts.afterAnswer(response);
        if (wait === undefined) return await read(response, attempts);
      } catch (error) {
        if (options.signal?.aborted || error instanceof ZaplineError) throw error;
        wait = attempts.afterError(error);
      } finally {
        clearTimeout(timer);
      }
      await sleep(wait, options.signal);
    }
  }
}

/** The network's failure, as opposed to this program's. */
class Broken extends Error {}

async function network<T>(doing: Promise<T>): Promise<T> {
  try {
    return await doing;
  } catch (cause) {
    throw new Broken("the connection broke", { cause });
  }
}

interface Loose {
  path?: Record<string, unknown>;
  query?: Record<string, unknown>;
  body?: unknown;
  contentType?: string;
  signal?: AbortSignal;
}

function address(path: string, values: Record<string, unknown>): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const text = encodeURIComponent(String(values[name] ?? ""));
    if (/^\.*$/.test(text)) throw new TypeError(`${name} is no id`);
    return text;
  });
}

function queryText(values: Record<string, unknown>): string {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null);
  const query = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)]));
  return given.length > 0 ? `?${query}` : "";
}

function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, seconds * 1000);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) end();
  });
}
