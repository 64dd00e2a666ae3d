/** What the client makes of answers, webhooks and streams: decisions, without a server. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { InvalidWebhook, Unanswered, Webhooks, Zapline, ZaplineProblem } from "../src/index.js";
import { EventParser, type StreamEvent } from "../src/events.js";

const KEY = Buffer.from(Array.from({ length: 32 }, (_, at) => at));
const SECRET = `whsec_${KEY.toString("base64")}`;
const OLD = `whsec_${Buffer.from(Array.from({ length: 32 }, (_, at) => at + 1)).toString("base64")}`;
const BODY = JSON.stringify({ type: "message.received", timestamp: "t", data: { text: "olá" } });

function signed(body = BODY, age = 0, key = KEY): Record<string, string> {
  const at = Math.floor(Date.now() / 1000) - age;
  const signature = createHmac("sha256", key).update(`msg_1.${at}.${body}`).digest("base64");
  return { "webhook-id": "msg_1", "webhook-timestamp": String(at), "webhook-signature": `v1,${signature}` };
}

test("what Zapline signs is verified, in any form of headers and while a key is rotated", async () => {
  const headers = signed();
  const raised = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toUpperCase(), [value]]));
  const strange = { ...headers, "webhook-signature": `v2,x v1 v1,?? ${headers["webhook-signature"]}` };
  for (const given of [headers, new Headers(headers), raised, strange]) {
    const { id, event } = await new Webhooks(OLD, SECRET).verify(given, Buffer.from(BODY));
    assert.equal(id, "msg_1");
    assert.ok(event.type === "message.received" && event.data.text === "olá");
  }
});

test("whatever else comes is one error", async () => {
  const cases: [Record<string, string>, string][] = [
    [{}, BODY],
    [signed(BODY, 400), BODY],
    [signed(BODY, -400), BODY],
    [signed(BODY, 0, Buffer.from("another")), BODY],
    [signed(), `${BODY} `],
    [signed("[]"), "[]"],
    [signed("{"), "{"],
    [{ ...signed(), "webhook-timestamp": "NaN" }, BODY],
    [{ ...signed(), "webhook-signature": "v1" }, BODY],
    [{ ...signed(), "webhook-id": "msg_2" }, BODY],
  ];
  for (const [headers, body] of cases) await assert.rejects(new Webhooks(SECRET).verify(headers, body), InvalidWebhook);
  for (const secret of ["", "whsec_", "whsec_no base64!"]) assert.throws(() => new Webhooks(secret), TypeError);
});

test("a stream reads the same wherever it is cut", () => {
  const raw = new TextEncoder().encode(
    'retry: 3000\n\nid: a-1\nevent: hello\ndata: {"status": "x"}\n\n: \n\n' +
      'id: a-2\r\nevent: message\r\ndata: {"text":\r\ndata: "olá"}\r\n\r\ndata: plain\r\rid: bad\0\ndata\n\n',
  );
  const wanted: StreamEvent[] = [
    { id: "a-1", kind: "hello", data: { status: "x" } },
    { id: "a-2", kind: "message", data: { text: "olá" } },
    { id: "a-2", kind: "message", data: "plain" },
    { id: "a-2", kind: "message", data: "" },
  ];
  for (let cut = 0; cut <= raw.length; cut += 1) {
    const parser = new EventParser("");
    const found = [...parser.feed(raw.slice(0, cut)), ...parser.feed(raw.slice(cut))];
    assert.deepEqual(found, wanted);
    assert.equal(parser.retrySeconds, 3);
  }
});

/** A client whose network answers so, in order; what it was asked. */
function scripted(...answers: (Response | Error)[]): { client: Zapline; asked: string[] } {
  const asked: string[] = [];
  const fetch = (async (url: string, init: RequestInit) => {
    asked.push(`${init.method} ${url} ${String(init.body ?? "")}`);
    const answer = answers.shift() ?? new Response("{}");
    if (answer instanceof Error) throw answer;
    return answer;
  }) as typeof globalThis.fetch;
  const patience = { tries: 3, seconds: 60, first: 0.001, longest: 0.001 };
  return { client: new Zapline("http://zapline.test/", { token: "zl_x", fetch, patience }), asked };
}

function problem(status: number, code: string, retryable = false): Response {
  const headers = { "content-type": "application/problem+json" };
  return new Response(JSON.stringify({ code, detail: "why", retryable }), { status, headers });
}

test("a message keeps its name over lost answers, proxies' pages and busy databases", async () => {
  const { client, asked } = scripted(new TypeError("fetch failed"), new Response("<html>", { status: 502 }));
  await client.send("u1", "+5511999990001", "oi");
  assert.equal(asked.length, 3);
  assert.equal(new Set(asked).size, 1);
  assert.match(asked[0] ?? "", /^POST http:\/\/zapline.test\/units\/u1\/messages .*clientMessageId/);
});

test("only what may be repeated is tried again", async () => {
  const lost = scripted(new TypeError("fetch failed"));
  await assert.rejects(lost.client.post("/units/{unit}/pause", { path: { unit: "u1" } }), Unanswered);
  const busy = scripted(problem(503, "database_busy", true));
  await busy.client.post("/units/{unit}/pause", { path: { unit: "u1" } });
  assert.equal(busy.asked.length, 2);
  const refused = scripted(problem(404, "unit_not_found"));
  await assert.rejects(refused.client.get("/units/{unit}", { path: { unit: "a/b" } }), (error: unknown) => {
    return error instanceof ZaplineProblem && error.code === "unit_not_found" && !error.retryable;
  });
  assert.deepEqual(refused.asked, ["GET http://zapline.test/units/a%2Fb "]);
  await assert.rejects(refused.client.get("/units/{unit}", { path: { unit: ".." } }), TypeError);
  const moved = scripted(new Response("<html>", { status: 301, headers: { location: "https://elsewhere.test/" } }));
  await assert.rejects(moved.client.get("/health"), Unanswered);
  await assert.rejects(scripted(new Response("<h1>It works!</h1>")).client.get("/health"), Unanswered);
  const away = scripted(...Array.from({ length: 3 }, () => problem(503, "unavailable", true)));
  await assert.rejects(away.client.get("/health"), ZaplineProblem);
});

test("only a name makes a campaign's request repeatable", async () => {
  const campaign = { name: "Sale", text: "oi", recipients: [] };
  for (const clientCampaignId of [null, "", undefined, 7]) {
    const lost = scripted(new TypeError("fetch failed"));
    const body = { ...campaign, clientCampaignId } as never;
    const made = lost.client.post("/units/{unit}/campaigns", { path: { unit: "u1" }, body });
    await assert.rejects(made, (error: unknown) => error instanceof Unanswered && !error.safeToRepeat);
    assert.equal(lost.asked.length, 1);
  }
  const named = scripted(new TypeError("fetch failed"));
  await named.client.post("/units/{unit}/campaigns", { path: { unit: "u1" }, body: { ...campaign, clientCampaignId: "sale" } as never });
  assert.equal(named.asked.length, 2);
});

test("what Evolution may have done is asked again only where it may be repeated", async () => {
  for (const code of ["evolution_failed", "outcome_unknown"]) {
    const once = scripted(problem(502, code, true));
    await assert.rejects(once.client.post("/units/{unit}/pause", { path: { unit: "u1" } }), ZaplineProblem);
    assert.equal(once.asked.length, 1);
    const again = scripted(problem(502, code, true));
    await again.client.get("/units/{unit}", { path: { unit: "u1" } });
    assert.equal(again.asked.length, 2);
  }
});

/** An answer whose body comes so far, and then breaks, or waits for ever. */
function body(text: string, after: "breaks" | "waits", type = "application/json"): Response {
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (text !== "") controller.enqueue(new TextEncoder().encode(text));
      else if (after === "breaks") controller.error(new TypeError("terminated"));
      text = "";
    },
  });
  return new Response(stream, { headers: { "content-type": type } });
}

test("an answer that breaks off is no answer, but a file is the caller's to read", async () => {
  const sent = scripted(body('{"id"', "breaks"));
  await sent.client.send("u1", "+5511999990001", "oi");
  assert.equal(sent.asked.length, 2);
  const paused = scripted(body('{"id"', "breaks")).client.post("/units/{unit}/pause", { path: { unit: "u1" } });
  await assert.rejects(paused, (error: unknown) => error instanceof Unanswered && !error.safeToRepeat);
  const file = await scripted(body("half", "breaks")).client.raw("GET", "/health");
  await assert.rejects(file.text(), TypeError);
});

const STREAM = "text/event-stream; charset=utf-8";

test("a stream goes on over a broken connection, and ends where something else answers", async () => {
  const told = (id: string) => `retry: 0\nid: ${id}\ndata: {}\n\n`;
  const { client, asked } = scripted(body(told("a"), "breaks", STREAM), new Response("busy", { status: 502 }), body(told("b"), "waits", STREAM));
  const ids: string[] = [];
  for await (const event of client.events("u1")) if (ids.push(event.id) === 2) break;
  assert.deepEqual([ids, asked.length], [["a", "b"], 3]);
  const others = [
    new Response("<h1>It works!</h1>", { headers: { "content-type": "text/html" } }),
    new Response("", { status: 302, headers: { location: "https://elsewhere.test/" } }),
    new Response("not here", { status: 404 }),
    new Response(null, { status: 204 }),
  ];
  for (const other of others) await assert.rejects(scripted(other).client.events("u1").next(), Unanswered);
  await assert.rejects(scripted(problem(401, "unauthorized")).client.events("u1").next(), ZaplineProblem);
  const crooked = new Zapline("http://zapline.test", { token: "two\nlines" });
  await assert.rejects(crooked.events("u1").next(), TypeError);
});

test("whoever holds an event may take his time, and only the network is timed", async (context) => {
  const answer = body("id: a\ndata: {}\n\n", "waits", STREAM);
  let signal: AbortSignal | undefined;
  const fetch = (async (_: string, init: RequestInit) => ((signal = init.signal ?? undefined), answer)) as typeof globalThis.fetch;
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const events = new Zapline("http://zapline.test", { fetch }).events("u1");
  assert.equal((await events.next()).value?.id, "a");
  context.mock.timers.tick(3_600_000);
  assert.equal(signal?.aborted, false);
  void events.next();
  await new Promise((resolve) => setImmediate(resolve));
  context.mock.timers.tick(45_000);
  assert.equal(signal?.aborted, true);
});
