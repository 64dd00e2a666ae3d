/** Against a whole Zapline, of which `ZAPLINE_SANDBOX` holds what `zapline sandbox --ephemeral` has printed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Zapline, ZaplineProblem } from "../src/index.js";

interface Sandbox {
  url: string;
  token: string;
  unit: string;
  instance: string;
  controlUrl: string;
}

const told = process.env["ZAPLINE_SANDBOX"];
const options = { skip: told === undefined ? "ZAPLINE_SANDBOX is not set" : false, timeout: 120_000 };
const phone = `55119${String(process.pid % 10_000).padStart(4, "0")}7777`;

async function control(sandbox: Sandbox, command: string, body: Record<string, unknown>): Promise<void> {
  const request = { method: "POST", body: JSON.stringify({ instance: sandbox.instance, ...body }) };
  const answer = await fetch(`${sandbox.controlUrl}/${command}`, request);
  assert.equal(answer.status, 200, await answer.text());
}

test("a message whose answer is lost is sent once, and read", options, async () => {
  const sandbox = JSON.parse(told ?? "") as Sandbox;
  let lost = 2;
  const unlucky = (async (url: string, init: RequestInit) => {
    const answer = await fetch(url, init);
    if (init.method === "POST" && lost > 0) {
      lost -= 1;
      await answer.text();
      throw new TypeError("the answer is lost");
    }
    return answer;
  }) as typeof fetch;
  const client = new Zapline(sandbox.url, { token: sandbox.token, fetch: unlucky });
  const sent = await client.send(sandbox.unit, `+${phone}`, "once");
  const get = () => client.get("/units/{unit}/messages/{message}", { path: { unit: sandbox.unit, message: sent.id } });
  while ((await get()).deliveryStatus !== "delivered") await new Promise((resolve) => setTimeout(resolve, 50));
  const rows = ((await (await fetch(`${sandbox.controlUrl}/deliveries`)).json()) as { rows: unknown[][] }).rows;
  assert.equal(rows.filter((row) => row[2] === phone).length, 1);
  await control(sandbox, "status", { id: (await get()).externalId, status: "READ" });
  while ((await get()).deliveryStatus !== "read") await new Promise((resolve) => setTimeout(resolve, 50));
});

test("what a customer writes is seen live, resumed behind the last event, and read by its place", options, async () => {
  const sandbox = JSON.parse(told ?? "") as Sandbox;
  const client = new Zapline(sandbox.url, { token: sandbox.token });
  let lastId = "";
  let seq = 0;
  const text = (data: unknown) => (data as { text?: string }).text;
  for await (const event of client.events(sandbox.unit)) {
    if (event.kind === "hello") await control(sandbox, "receive", { text: "live", sender: phone });
    if (event.kind === "message" && text(event.data) === "live") {
      lastId = event.id;
      seq = (event.data as { seq: number }).seq;
      break;
    }
  }
  await control(sandbox, "receive", { text: "meanwhile", sender: phone });
  for await (const event of client.events(sandbox.unit, lastId)) {
    assert.notEqual(event.kind, "reset");
    if (event.kind === "message" && text(event.data) === "meanwhile") break;
  }
  const texts: (string | null)[] = [];
  for await (const message of client.messagesSince(sandbox.unit, seq)) texts.push(message.text);
  assert.ok(texts.includes("meanwhile"));
  const ended = client.events("0b0e3c0e-8f0e-4c8e-9a66-2f6f0e1f6a11").next();
  await assert.rejects(ended, (error: unknown) => error instanceof ZaplineProblem && error.status === 404);
});
