/** The client of Zapline's API; see docs/clients.md. */
export { Zapline, type ZaplineOptions } from "./client.js";
export { InvalidWebhook, Unanswered, ZaplineError, ZaplineProblem } from "./errors.js";
export { type StreamEvent } from "./events.js";
export { type Patience } from "./retries.js";
export { Webhooks, type Delivery, type WebhookEvent } from "./webhooks.js";
export type { components, operations, paths } from "./schema.js";
