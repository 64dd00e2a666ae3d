/** All errors of this client. */
export class ZaplineError extends Error {
  override name = "ZaplineError";
}

/** Zapline's own answer that it cannot be done (RFC 9457). `code` is for programs and keeps its meaning. */
export class ZaplineProblem extends ZaplineError {
  override name = "ZaplineProblem";
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    /** The same request may succeed later, after `retryAfter` seconds where that is told. */
    readonly retryable: boolean,
    readonly retryAfter: number | undefined,
    /** The fields of a request that does not validate. */
    readonly errors: readonly Record<string, unknown>[],
  ) {
    super(detail ? `${status} ${code}: ${detail}` : `${status} ${code}`);
  }
}

/** No answer came, so nobody knows whether it was done. Ask again under the same `clientId`, where there is one. */
export class Unanswered extends ZaplineError {
  override name = "Unanswered";
  constructor(
    text: string,
    readonly safeToRepeat: boolean,
    readonly clientId: string | undefined,
    options?: ErrorOptions,
  ) {
    super(text, options);
  }
}

/** Not signed with one of the secrets, too old, or no event: answer 400 and do nothing. */
export class InvalidWebhook extends ZaplineError {
  override name = "InvalidWebhook";
}
