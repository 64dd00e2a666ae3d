/* Keeps the console's pages up to date. Every page works without it, by plain forms and reloads.
 *
 * An element says `data-live="status qr"` and `data-src="/console/.../part"`: on an event of that kind its content is
 * fetched from the server and replaced, at most each `data-gap` milliseconds. `data-every="30"` has it fetched every so many seconds too, `data-stick` keeps
 * it scrolled to its end. The page's one stream of events is `data-events` of the body.
 */
"use strict";

(() => {
  const body = document.body;
  const texts = JSON.parse(body.dataset.texts || "{}");
  const KINDS = ["status", "qr", "message", "delivery", "campaign", "traffic"];
  const GAP = 300;          // ms between two fetches of one part: a burst of events is one fetch
  const SLOWEST = 10000;    // ms between two tries to reach the server again
  const HIDDEN = 30000;     // ms after which a page that nobody sees gives its stream back: browsers have few
  const IDLE = 300000;      // ms without a touch after which what the script asks for is no use of the session
  const PROBE = "/console/session";
  const SILENT = 10000;     // ms without a word of the server after which it is asked whether it is there
  let touched = Date.now(), heard = Date.now(), leaving = false;

  document.documentElement.classList.add("scripted");

  // -- asking the server ---------------------------------------------------------------------------------------

  async function ask(path, signal) {
    const headers = { "X-Zapline-Live": "1" };
    if (Date.now() - touched > IDLE) headers["X-Zapline-Idle"] = "1";
    const answer = await fetch(path, { headers, signal, cache: "no-store", credentials: "same-origin" });
    heard = Date.now();
    if (answer.status === 401) over();
    return answer;
  }

  for (const kind of ["pointerdown", "keydown", "wheel"]) addEventListener(kind, () => { touched = Date.now(); }, { passive: true });
  addEventListener("pagehide", () => { leaving = true; });
  addEventListener("pageshow", () => { leaving = false; });

  // -- live parts ----------------------------------------------------------------------------------------------

  const states = new WeakMap();   // element -> {shown, fetching, again, due, last}

  function state(part) {
    if (!states.has(part)) states.set(part, { shown: null, fetching: null, due: 0, last: 0 });
    return states.get(part);
  }

  function parts(kind) {
    return [...document.querySelectorAll("[data-src]")].filter(part =>
      kind === null || (part.dataset.live || "").split(" ").includes(kind));
  }

  function wake(kind) {
    heard = Date.now();
    for (const part of parts(kind)) soon(part, 0);
  }

  function soon(part, delay) {
    const own = state(part), due = Math.max(Date.now() + delay, own.last + Number(part.dataset.gap || GAP));
    if (own.due && own.due <= due) return;
    own.due = due;
    clearTimeout(own.timer);
    own.timer = setTimeout(() => { own.due = 0; refresh(part); }, due - Date.now());
  }

  async function refresh(part) {
    const own = state(part);
    if (!part.isConnected) return;
    if (document.hidden) { own.owed = true; return; }
    own.last = Date.now();
    if (own.fetching) own.fetching.abort();
    const mine = own.fetching = new AbortController();
    const limit = setTimeout(() => mine.abort("slow"), 8000);
    try {
      const answer = await ask(part.dataset.src, mine.signal);
      if (answer.ok) {
        const text = await answer.text();
        if (own.fetching === mine) { replace(part, text); part.removeAttribute("data-stale"); }
      } else if (answer.status >= 500 || answer.status === 429) {
        part.setAttribute("data-stale", "");
        soon(part, 5000);
      } else if (answer.status === 404) {
        part.setAttribute("data-stale", "");
      }
    } catch (error) {
      if (mine.signal.reason === "slow" || error.name !== "AbortError") { part.setAttribute("data-stale", ""); soon(part, 5000); doubt(); }
    } finally {
      clearTimeout(limit);
      if (own.fetching === mine) own.fetching = null;
    }
  }

  function replace(part, text) {
    const own = state(part);
    if (own.shown === text) return;
    const fresh = new DOMParser().parseFromString(text, "text/html").body;
    const typed = [...part.querySelectorAll("input, textarea, select")].filter(edited);
    if (typed.some(field => fresh.querySelector(`[name="${CSS.escape(field.name)}"]`))) { soon(part, 2000); return; }
    const active = part.contains(document.activeElement) ? document.activeElement : null;
    const key = active && nameOf(active);
    const opened = [...part.querySelectorAll("details[open][id]")].map(each => each.id);
    const scrolled = [part, ...part.querySelectorAll("[id]")].filter(each => each.scrollTop || each.scrollLeft)
      .map(each => [each === part ? null : each.id, each.scrollTop, each.scrollLeft]);
    const stuck = part.closest("[data-stick]");
    const end = stuck && stuck.scrollHeight - stuck.clientHeight - stuck.scrollTop < 40;
    if ("keyed" in part.dataset) merge(part, fresh); else part.replaceChildren(...fresh.childNodes);
    own.shown = text;
    for (const id of opened) { const each = document.getElementById(id); if (each) each.open = true; }
    for (const [id, top, left] of scrolled) { const each = id ? document.getElementById(id) : part; if (each) { each.scrollTop = top; each.scrollLeft = left; } }
    if (end) stuck.scrollTop = stuck.scrollHeight;
    if (active && !active.isConnected) focusIn(part, key);
    tell(part);
    tick();
    part.dispatchEvent(new CustomEvent("zapline:replaced", { bubbles: true }));
  }

  // What finds an element again after its part was replaced.
  function nameOf(element) {
    if (element.id) return `#${CSS.escape(element.id)}`;
    if (element.hasAttribute("href")) return `[href="${CSS.escape(element.getAttribute("href"))}"]`;
    const form = element.form;
    return form && form.hasAttribute("action") ? `form[action="${CSS.escape(form.getAttribute("action"))}"] ${element.localName}` : null;
  }

  // Gives the focus to the same element; where it is gone to its part, so that the next Tab goes on from there.
  function focusIn(part, key) {
    const again = (key && part.querySelector(key)) || part;
    if (again === part && !part.hasAttribute("tabindex")) part.tabIndex = -1;
    again.focus({ preventScroll: true });
  }

  // Keeps the elements that are as they were: a picture is not loaded again, a sound that plays goes on.
  function merge(part, fresh) {
    const known = new Map([...part.children].filter(each => each.id).map(each => [each.id, each]));
    const wanted = [...fresh.children].map(each => {
      const old = known.get(each.id);
      return old && old.outerHTML === each.outerHTML ? old : each;
    });
    const kept = new Set(wanted);
    for (const node of [...part.childNodes]) if (!kept.has(node)) node.remove();
    let at = part.firstChild;
    for (const each of wanted) { if (each === at) at = at.nextSibling; else part.insertBefore(each, at); }
  }

  /* What a part wants told to who cannot see it change: its `data-say`, when it has become another. */
  function tell(part) {
    const own = state(part), say = part.querySelector("[data-say]"), text = say ? say.textContent.trim() : "";
    if (own.said !== undefined && text && text !== own.said) document.getElementById("said").textContent = text;
    own.said = text;
  }

  function edited(field) {
    if (field.type === "hidden" || field.disabled) return false;
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (field.tagName === "SELECT") return [...field.options].some(one => one.selected !== one.defaultSelected) && [...field.options].some(one => one.defaultSelected);
    return field.value !== field.defaultValue;
  }

  // -- the stream, and losing it -------------------------------------------------------------------------------

  let stream = null, tries = 0, retry = null, missing = false, ended = false;
  const lostBanner = document.getElementById("lost"), overBanner = document.getElementById("over");

  function open() {
    clearTimeout(retry);
    retry = null;
    if (ended || !body.dataset.events) { found(); return; }
    if (stream) stream.close();
    const mine = stream = new EventSource(body.dataset.events);
    mine.addEventListener("hello", () => { found(); wake(null); });
    mine.addEventListener("reset", () => wake(null));
    for (const kind of KINDS) mine.addEventListener(kind, () => wake(kind));
    mine.addEventListener("error", () => { mine.close(); if (stream === mine) { stream = null; doubt(); } });
  }

  function doubt() {
    if (retry || leaving || ended) return;
    const wait = Math.min(SLOWEST, 250 * 2 ** tries) * (0.75 + Math.random() / 2);
    tries += 1;
    retry = setTimeout(look, wait);
  }

  async function look() {
    retry = null;
    const limit = new AbortController(), timer = setTimeout(() => limit.abort(), 5000);
    try {
      const answer = await ask(PROBE, limit.signal);
      if (answer.status === 401) return;
      if (!answer.ok) throw new Error("away");
      if (missing || !body.dataset.events) { found(); wake(null); }
      if (body.dataset.events && !stream) open();
    } catch {
      if (!leaving) { missing = true; lostBanner.hidden = false; }
      doubt();
    } finally {
      clearTimeout(timer);
    }
  }

  function found() {
    tries = 0;
    missing = false;
    lostBanner.hidden = true;
  }

  function over() {
    ended = true;
    if (stream) { stream.close(); stream = null; }
    lostBanner.hidden = true;
    overBanner.hidden = false;
    const link = overBanner.querySelector("a");
    link.href = `/console/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
  }

  // What was typed outlives the way over the sign-in: in this tab alone, and only until it stands there again.
  const kept = `zapline:${location.pathname}`;

  function keep() {
    const typed = [...document.querySelectorAll("textarea[id], input[type=text][id]")].filter(edited);
    try { if (typed.length) sessionStorage.setItem(kept, JSON.stringify(typed.map(field => [field.id, field.value]))); } catch { /* no room */ }
  }

  function restore() {
    let typed = [];
    try { typed = JSON.parse(sessionStorage.getItem(kept) || "[]"); sessionStorage.removeItem(kept); } catch { /* not allowed */ }
    for (const [id, text] of typed) { const field = document.getElementById(id); if (field && !edited(field)) field.value = text; }
  }

  let asleep = null;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(asleep);
    if (document.hidden) {
      asleep = setTimeout(() => { if (stream) { stream.close(); stream = null; } }, HIDDEN);
      return;
    }
    if (body.dataset.events && !stream && !ended) open();
    for (const part of parts(null)) { const own = state(part); if (own.owed) { own.owed = false; refresh(part); } }
  });

  // -- times -----------------------------------------------------------------------------------------------------

  const skew = body.dataset.now ? Date.parse(body.dataset.now) - Date.now() : 0;
  const say = (text, n) => (texts[text] || text).replace("{n}", n);

  function distance(seconds) {
    const far = Math.abs(seconds), ahead = seconds < 0;
    if (far < 10) return say("just now");
    const [n, unit] = far < 60 ? [far, "s"] : far < 3600 ? [far / 60, "min"] : far < 86400 ? [far / 3600, "h"] : [far / 86400, "d"];
    return say(ahead ? `in {n} ${unit}` : `{n} ${unit} ago`, Math.floor(n));
  }

  function tick() {
    const now = Date.now() + skew;
    for (const each of document.querySelectorAll("time[data-ago]")) {
      const text = distance((now - Date.parse(each.dateTime)) / 1000);
      if (each.textContent !== text) each.textContent = text;
    }
    for (const each of document.querySelectorAll("[data-until]")) {
      const left = Math.ceil((Date.parse(each.dataset.until) - now) / 1000);
      const text = left > 0 ? each.dataset.left.replace("{n}", left) : each.dataset.past;
      if (each.textContent !== text) each.textContent = text;
      for (const meter of document.querySelectorAll(`progress[data-of="${each.id}"]`)) meter.value = Math.max(0, left);
    }
  }

  // -- forms -----------------------------------------------------------------------------------------------------

  document.addEventListener("change", event => {
    if (event.target.matches("[data-sends]")) event.target.form.requestSubmit();
  });
  document.addEventListener("submit", event => {
    const form = event.target, part = (event.submitter && event.submitter.dataset.part) || form.dataset.part;
    if (form.method !== "post") return;
    if (part || "quietly" in form.dataset) { event.preventDefault(); send(form, event.submitter, part); return; }
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";   // a second click is not a second wish
    setTimeout(() => { delete form.dataset.sent; }, 3000);
  });
  document.addEventListener("input", event => {
    const form = event.target.closest("form[data-filters]");
    if (!form) return;
    clearTimeout(form.timer);
    form.timer = setTimeout(() => {
      const part = document.getElementById(form.dataset.filters), query = new URLSearchParams(new FormData(form));
      for (const [name, value] of [...query]) if (!value) query.delete(name);
      const asked = query.size ? `?${query}` : "";
      part.dataset.src = part.dataset.src.split("?")[0] + asked;
      history.replaceState(null, "", location.pathname + asked);
      refresh(part);
    }, 200);
  });
  // Sends a form and puts what comes back into a part of the page; what was typed stays where it did not arrive.
  async function send(form, submitter, part) {
    if (form.dataset.sent) return;
    form.dataset.sent = "1";
    const target = part ? document.getElementById(part) : null, error = form.querySelector("[data-error]");
    const fail = text => { if (error) { error.textContent = text; error.hidden = false; } };
    const limit = new AbortController(), timer = setTimeout(() => limit.abort(), 60000);
    if (target) target.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(submitter && submitter.hasAttribute("formaction") ? submitter.formAction : form.action, {
        method: "POST", body: new FormData(form, submitter), headers: { "X-Zapline-Live": "1" }, signal: limit.signal, credentials: "same-origin",
      });
      if (answer.status === 401) { over(); return; }
      const text = await answer.text(), page = (answer.headers.get("Content-Type") || "").startsWith("text/html");
      if (page && target) {
        const focused = target.contains(document.activeElement);
        target.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
        const field = focused && target.querySelector("textarea");
        if (field) field.focus({ preventScroll: true });
        if (!target.contains(form)) target.scrollIntoView?.({ block: "nearest" });
      } else if (!answer.ok) fail(text || say("It did not arrive. Send it again: it is sent once."));
      const stuck = answer.ok && form.dataset.wakes && document.querySelector("[data-stick]");
      if (stuck) stuck.scrollTop = stuck.scrollHeight;
      for (const kind of (form.dataset.wakes || "message").split(" ")) wake(kind);
    } catch { fail(say("It did not arrive. Send it again: it is sent once.")); doubt(); } finally {
      clearTimeout(timer);
      delete form.dataset.sent;
      if (target) target.removeAttribute("aria-busy");
    }
  }

  document.addEventListener("keydown", event => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || !event.target.matches("[data-enter-sends]")) return;
    if (matchMedia("(pointer: coarse)").matches) return;   // a phone's keyboard has no Shift+Enter
    event.preventDefault();
    const file = event.target.form.querySelector("input[type=file]");
    if (event.target.value.trim() || (file && file.value) || event.target.form.upload?.value) event.target.form.requestSubmit();
  });

  // Puts older messages above the others; what is read stays where it is.
  document.addEventListener("click", async event => {
    const above = event.target.closest("a[data-above]");
    if (!above || event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    const place = above.closest(".older"), box = above.closest(".messages"), from = box.scrollHeight - box.scrollTop;
    try {
      const answer = await ask(above.dataset.above);
      if (!answer.ok) throw new Error("away");
      place.replaceWith(...new DOMParser().parseFromString(await answer.text(), "text/html").body.childNodes);
      box.scrollTop = box.scrollHeight - from;
    } catch { location.href = above.href; }
  });

  document.addEventListener("click", async event => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const from = document.getElementById(button.dataset.copy);
    try { await navigator.clipboard.writeText(from.value ?? from.textContent); button.textContent = button.dataset.copied; } catch { from.select?.(); }
  });

  // -- to work ---------------------------------------------------------------------------------------------------

  const instead = document.querySelector("[data-instead]");
  if (instead) history.replaceState(null, "", instead.dataset.instead);   // a reload is not to make another secret
  const again = document.querySelector("[data-again]");
  if (again) setTimeout(() => location.reload(), again.dataset.again * 1000);
  for (const part of document.querySelectorAll("[data-stick]")) {
    let end = true;   // a picture that comes late makes what is above longer
    part.scrollTop = part.scrollHeight;
    part.addEventListener("scroll", () => { end = part.scrollHeight - part.clientHeight - part.scrollTop < 40; }, { passive: true });
    part.addEventListener("load", () => { if (end) part.scrollTop = part.scrollHeight; }, true);
  }
  parts(null).forEach(tell);
  setInterval(tick, 1000);
  tick();
  if (document.querySelector("form.who")) {
    overBanner.querySelector("a").addEventListener("click", keep);
    restore();
    if (body.dataset.events) open();
    setInterval(() => {
      if (document.hidden || ended) return;
      if (!retry && Date.now() - heard > SILENT) look();
      const now = Date.now();
      for (const part of parts(null)) if (part.dataset.every && now - state(part).last >= part.dataset.every * 1000) soon(part, 0);
    }, 5000);
  }
})();
