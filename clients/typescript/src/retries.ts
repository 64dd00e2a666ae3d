/** Decides what follows an answer or the lack of one: a result, an error, or the same again. */
import { Unanswered, ZaplineProblem } from "./errors.js";

/** How long a call is tried again: at most `tries` times, and no longer than `seconds` altogether. */
export interface Patience {
  tries: number;
  seconds: number;
  /** Seconds of the first wait, and of the longest. */
  first: number;
  longest: number;
}

export const PATIENCE: Patience = { tries: 6, seconds: 60, first: 0.5, longest: 10 };
const ANSWERED_BY_A_PROXY = [502, 503, 504];
const REPEATABLE = ["GET", "PUT"];
const UNKNOWN_OUTCOME = ["outcome_unknown", "internal_error"];
/** Behind these problems the thing may have been done, also where they are retryable: only what may be repeated is. */
const MAY_HAVE_ACTED = [...UNKNOWN_OUTCOME, "evolution_failed"];

/** Seconds after so many failures; `spread` in 0..1 is drawn by the caller. */
export function pause(patience: Patience, failures: number, spread: number): number {
  return Math.min(patience.longest, patience.first * 2 ** Math.min(failures - 1, 30)) * (1 - spread / 2);
}

/** The tries of one call. */
export class Attempts {
  private failures = 0;
  private readonly started = performance.now();
  private readonly repeatable: boolean;

  constructor(
    private readonly patience: Patience,
    private readonly method: string,
    private readonly route: string,
    /** The caller's own name for what is asked for: under it the same request may be repeated. */
    private readonly clientId: string | undefined,
  ) {
    this.repeatable = clientId !== undefined || REPEATABLE.includes(method);
  }

  /** Seconds until the next try after there was no answer. Throws Unanswered. */
  afterError(error: unknown): number {
    // fetch does not tell whether the request had left, except where nobody listens.
    const cause = error instanceof Error ? (error.cause as { code?: string } | undefined) : undefined;
    const neverSent = cause?.code === "ECONNREFUSED" || cause?.code === "ENOTFOUND";
    const safe = this.repeatable || neverSent;
    const failed = new Unanswered(`${this.method} ${this.route}: no answer`, safe, this.clientId, { cause: error });
    if (!safe) throw failed;
    return this.next(failed, undefined);
  }

  /** Undefined for an answer to be used, else the seconds until the next try. Throws ZaplineProblem, Unanswered. */
  async afterAnswer(response: Response): Promise<number | undefined> {
    if (response.ok || response.status === 304) return undefined;
    const problem = await problemOf(response);
    if (problem === undefined) {
      const failed = this.notByZapline(response);
      if (this.repeatable && ANSWERED_BY_A_PROXY.includes(response.status)) return this.next(failed, retryAfter(response));
      throw failed;
    }
    const again = problem.retryable || (problem.status >= 500 && UNKNOWN_OUTCOME.includes(problem.code));
    if (again && (this.repeatable || !MAY_HAVE_ACTED.includes(problem.code))) return this.next(problem, problem.retryAfter);
    throw problem;
  }

  /** An error for an answer that is a page of somebody else's, or leads elsewhere. */
  notByZapline(response: Response): Unanswered {
    return notByZapline(`${this.method} ${this.route}`, response, this.repeatable, this.clientId);
  }

  private next(failed: Error, askedFor: number | undefined): number {
    this.failures += 1;
    const wait = Math.max(pause(this.patience, this.failures, Math.random()), askedFor ?? 0);
    const spent = (performance.now() - this.started) / 1000;
    if (this.failures >= this.patience.tries || spent + wait > this.patience.seconds) throw failed;
    return wait;
  }
}

/** An error for an answer of somebody else's. */
export function notByZapline(call: string, response: Response, safeToRepeat: boolean, clientId?: string): Unanswered {
  return new Unanswered(`${call}: ${response.status}, and not by Zapline; is the address right?`, safeToRepeat, clientId);
}

/** The media type of an answer, in small letters. */
export function mediaType(response: Response): string | undefined {
  return response.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
}

/** The problem that an answer tells, undefined where it is not Zapline's. */
export async function problemOf(response: Response): Promise<ZaplineProblem | undefined> {
  const text = await response.text();
  if (mediaType(response) !== "application/problem+json") return undefined;
  let told: Record<string, unknown>;
  try {
    told = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  if (typeof told?.["code"] !== "string") return undefined;
  const errors = Array.isArray(told["errors"]) ? (told["errors"] as Record<string, unknown>[]) : [];
  const detail = typeof told["detail"] === "string" ? told["detail"] : "";
  return new ZaplineProblem(
    response.status, told["code"], detail, told["retryable"] === true, retryAfter(response), errors,
  );
}

/** Seconds that an answer asks to wait for, as a number or a date. */
export function retryAfter(response: Response): number | undefined {
  const text = response.headers.get("retry-after")?.trim() ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, (at - Date.now()) / 1000);
}
