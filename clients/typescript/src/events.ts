/** Reads server-sent events from text that arrives cut anywhere. */
import { ZaplineError } from "./errors.js";

/** One event: `hello` after each connection, then `message`, `delivery`, `status` and the others; `reset` says that
 * some were missed. `id` is what a later stream resumes behind. */
export interface StreamEvent {
  id: string;
  kind: string;
  data: unknown;
}

const MAX_EVENT = 4 * 2 ** 20;

/** The format of the HTML standard: lines end by CR, LF or both. */
export class EventParser {
  retrySeconds: number | undefined;
  private readonly decoder = new TextDecoder();
  private text = "";
  private afterTurn = false;
  private kind = "";
  private data: string[] = [];
  private size = 0;

  constructor(public lastId: string) {}

  /** The events that these bytes complete. Throws ZaplineError for one that is larger than any of Zapline's. */
  *feed(chunk: Uint8Array): Generator<StreamEvent> {
    let text = this.decoder.decode(chunk, { stream: true });
    if (text && this.afterTurn) {
      if (text.startsWith("\n")) text = text.slice(1);
      this.afterTurn = false;
    }
    if (text.endsWith("\r")) this.afterTurn = true;
    this.text += text;
    const lines = this.text.split(/\r\n|\n|\r/);
    this.text = lines.pop() ?? "";
    for (const line of lines) {
      const event = this.line(line);
      if (event !== undefined) yield event;
    }
    if (this.size + this.text.length > MAX_EVENT) throw new ZaplineError("an event of the stream is too large");
  }

  private line(line: string): StreamEvent | undefined {
    if (line === "") return this.dispatch();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") {
      this.data.push(value);
      this.size += value.length + 1;
    } else if (name === "event") this.kind = value;
    else if (name === "id" && !value.includes("\0")) this.pendingId = value;
    else if (name === "retry" && /^\d{1,9}$/.test(value)) this.retrySeconds = Math.min(Number(value) / 1000, 60);
    return undefined;
  }

  private pendingId: string | undefined;

  private dispatch(): StreamEvent | undefined {
    this.lastId = this.pendingId ?? this.lastId;
    const kind = this.kind || "message";
    const text = this.data.length > 0 ? this.data.join("\n") : undefined;
    this.kind = "";
    this.data = [];
    this.size = 0;
    if (text === undefined) return undefined;
    let data: unknown = text;
    try {
      data = JSON.parse(text);
    } catch {
      // Not Zapline's own; whoever reads it sees the text.
    }
    return { id: this.lastId, kind, data };
  }
}
