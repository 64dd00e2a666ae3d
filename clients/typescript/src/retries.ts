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
const REPEATABLE = ["GET", "HEAD", "PUT"];

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
      const text = `${this.method} ${this.route}: ${response.status}, and not by Zapline`;
      const failed = new Unanswered(text, this.repeatable, this.clientId);
      if (this.repeatable && ANSWERED_BY_A_PROXY.includes(response.status)) return this.next(failed, retryAfter(response));
      throw failed;
    }
    const uncertain = problem.status >= 500 && ["outcome_unknown", "internal_error"].includes(problem.code);
    if (problem.retryable || (uncertain && this.repeatable)) return this.next(problem, problem.retryAfter);
    throw problem;
  }

  private next(failed: Error, askedFor: number | undefined): number {
    this.failures += 1;
    const wait = Math.max(pause(this.patience, this.failures, Math.random()), askedFor ?? 0);
    const spent = (performance.now() - this.started) / 1000;
    if (this.failures >= this.patience.tries || spent + wait > this.patience.seconds) throw failed;
    return wait;
  }
}

/** The problem that an answer tells, undefined where it is not Zapline's. */
export async function problemOf(response: Response): Promise<ZaplineProblem | undefined> {
  const type = response.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  const text = await response.text();
  if (type !== "application/problem+json") return undefined;
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
