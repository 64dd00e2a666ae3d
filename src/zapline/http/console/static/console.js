/* Keeps the console's pages up to date. Every page works without it, by plain forms and reloads.
 *
 * An element with `data-live="status qr"` and `data-src="/console/.../part"` is a live part: on an event of these kinds its
 * content is fetched and replaced, at most once in `data-gap` milliseconds. `data-every="30"` fetches it every 30 seconds
 * too, and `data-stick` keeps it scrolled to its end. `data-events` of the body is the page's one event stream.
 */
"use strict";

(() => {
  const body = document.body;
  const texts = JSON.parse(body.dataset.texts || "{}");
  const KINDS = ["status", "qr", "message", "delivery", "reaction", "vote", "campaign", "traffic", "presence"];
  const MIN_GAP = 300;             // ms between two fetches of one part: a burst of events causes one fetch
  const MAX_RETRY_DELAY = 10000;   // ms between two attempts to reach the server again
  const HIDDEN_AFTER = 30000;      // ms after which a hidden page closes its stream: browsers allow few
  const IDLE_AFTER = 300000;       // ms without input after which the script's requests do not extend the session
  const PROBE_PATH = "/console/session";
  const SILENT_AFTER = 10000;      // ms without data from the server after which it is probed
  let touchedAt = Date.now(), receivedAt = Date.now(), leaving = false;

  document.documentElement.classList.add("scripted");

  // -- requests to the server ----------------------------------------------------------------------------------

  async function request(path, signal) {
    const headers = { "X-Zapline-Live": "1" };
    if (Date.now() - touchedAt > IDLE_AFTER && !watching()) headers["X-Zapline-Idle"] = "1";
    const answer = await fetch(path, { headers, signal, cache: "no-store", credentials: "same-origin" });
    receivedAt = Date.now();
    if (answer.status === 401) showSessionOver();
    return answer;
  }

  for (const kind of ["pointerdown", "keydown", "wheel"]) addEventListener(kind, () => { touchedAt = Date.now(); }, { passive: true });
  addEventListener("pagehide", () => { leaving = true; });
  addEventListener("pageshow", () => { leaving = false; });

  // The code of an invitation stands behind the #, which browsers send to nobody; it goes from the address at once.
  for (const field of document.querySelectorAll("[data-from-fragment]")) {
    if (location.hash.length < 2) continue;
    field.value = location.hash.slice(1);
    history.replaceState(null, "", location.pathname);
  }

  // -- live parts ----------------------------------------------------------------------------------------------

  const states = new WeakMap();   // element -> {text, fetching, due, fetchedAt, timer, skipped, announced}

  function state(part) {
    if (!states.has(part)) states.set(part, { text: null, fetching: null, due: 0, fetchedAt: 0 });
    return states.get(part);
  }

  function liveParts(kind) {
    return [...document.querySelectorAll("[data-src]")].filter(part =>
      kind === null || (part.dataset.live || "").split(" ").includes(kind));
  }

  function refreshAll(kind) {
    receivedAt = Date.now();
    for (const part of liveParts(kind)) refreshSoon(part, 0);
  }

  function refreshSoon(part, delay) {
    const own = state(part), due = Math.max(Date.now() + delay, own.fetchedAt + Number(part.dataset.gap || MIN_GAP));
    if (own.due && own.due <= due) return;
    own.due = due;
    clearTimeout(own.timer);
    own.timer = setTimeout(() => { own.due = 0; refresh(part); }, due - Date.now());
  }

  async function refresh(part) {
    const own = state(part);
    if (!part.isConnected) return;
    if (document.hidden || part.checkVisibility?.() === false) { own.skipped = true; return; }
    own.fetchedAt = Date.now();
    if (own.fetching) own.fetching.abort();
    const mine = own.fetching = new AbortController();
    const limit = setTimeout(() => mine.abort("slow"), 8000);
    try {
      const answer = await request(part.dataset.src, mine.signal);
      if (answer.ok) {
        const text = await answer.text();
        if (own.fetching === mine) { replace(part, text); part.removeAttribute("data-stale"); }
      } else if (answer.status >= 500 || answer.status === 429) {
        part.setAttribute("data-stale", "");
        refreshSoon(part, 5000);
      } else if (answer.status === 404) {
        part.setAttribute("data-stale", "");
      }
    } catch (error) {
      if (mine.signal.reason === "slow" || error.name !== "AbortError") { part.setAttribute("data-stale", ""); refreshSoon(part, 5000); retryConnection(); }
    } finally {
      clearTimeout(limit);
      if (own.fetching === mine) own.fetching = null;
    }
  }

  function replace(part, text) {
    const own = state(part);
    if (own.text === text) return;
    const fresh = new DOMParser().parseFromString(text, "text/html").body;
    const typed = [...part.querySelectorAll("input, textarea, select")].filter(edited);
    if (typed.some(field => fresh.querySelector(`[name="${CSS.escape(field.name)}"]`))) { refreshSoon(part, 2000); return; }
    const active = part.contains(document.activeElement) ? document.activeElement : null;
    const selector = active && selectorOf(active);
    const opened = [...part.querySelectorAll("details[open][id]")].map(each => each.id);
    const scrolled = [part, ...part.querySelectorAll("[id]")].filter(each => each.scrollTop || each.scrollLeft)
      .map(each => [each === part ? null : each.id, each.scrollTop, each.scrollLeft]);
    const stuck = part.closest("[data-stick]");
    const end = stuck && stuck.scrollHeight - stuck.clientHeight - stuck.scrollTop < 40;
    if ("keyed" in part.dataset) merge(part, fresh); else part.replaceChildren(...fresh.childNodes);
    own.text = text;
    for (const id of opened) { const each = document.getElementById(id); if (each) each.open = true; }
    for (const [id, top, left] of scrolled) { const each = id ? document.getElementById(id) : part; if (each) { each.scrollTop = top; each.scrollLeft = left; } }
    if (end) stuck.scrollTop = stuck.scrollHeight;
    if (active && !active.isConnected) restoreFocus(part, selector);
    announce(part);
    updateTimes();
    part.dispatchEvent(new CustomEvent("zapline:replaced", { bubbles: true }));
  }

  // A selector that finds the element again after its part was replaced.
  function selectorOf(element) {
    if (element.id) return `#${CSS.escape(element.id)}`;
    if (element.hasAttribute("href")) return `[href="${CSS.escape(element.getAttribute("href"))}"]`;
    const form = element.form;
    return form && form.hasAttribute("action") ? `form[action="${CSS.escape(form.getAttribute("action"))}"] ${element.localName}` : null;
  }

  // Focuses the same element; if it is gone, its part, so that the next Tab continues from there.
  function restoreFocus(part, selector) {
    const again = (selector && part.querySelector(selector)) || part;
    if (again === part && !part.hasAttribute("tabindex")) part.tabIndex = -1;
    again.focus({ preventScroll: true });
  }

  // Keeps unchanged elements: pictures are not loaded again, and audio goes on playing.
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

  /* Announces the `data-announce` of a part to screen readers when it has changed. */
  function announce(part) {
    const own = state(part), source = part.querySelector("[data-announce]"), text = source ? source.textContent.trim() : "";
    if (own.announced !== undefined && text && text !== own.announced) document.getElementById("announcement").textContent = text;
    own.announced = text;
  }

  function edited(field) {
    if (field.type === "hidden" || field.disabled) return false;
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (field.tagName === "SELECT") return [...field.options].some(one => one.selected !== one.defaultSelected) && [...field.options].some(one => one.defaultSelected);
    return field.value !== field.defaultValue;
  }

  // -- the event stream and its loss ---------------------------------------------------------------------------

  let stream = null, attempts = 0, retry = null, lost = false, sessionOver = false;
  const lostBanner = document.getElementById("lost"), overBanner = document.getElementById("session-over");

  function open() {
    clearTimeout(retry);
    retry = null;
    if (sessionOver || !body.dataset.events) { connected(); return; }
    if (stream) stream.close();
    const mine = stream = new EventSource(body.dataset.events);
    mine.addEventListener("hello", () => { connected(); refreshAll(null); });
    mine.addEventListener("reset", () => refreshAll(null));
    for (const kind of KINDS) mine.addEventListener(kind, event => {
      refreshAll(kind);
      document.dispatchEvent(new CustomEvent("zapline:event", { detail: { kind, data: event.data } }));
    });
    mine.addEventListener("error", () => { mine.close(); if (stream === mine) { stream = null; retryConnection(); } });
  }

  function retryConnection() {
    if (retry || leaving || sessionOver) return;
    const wait = Math.min(MAX_RETRY_DELAY, 250 * 2 ** attempts) * (0.75 + Math.random() / 2);
    attempts += 1;
    retry = setTimeout(probe, wait);
  }

  async function probe() {
    retry = null;
    const limit = new AbortController(), timer = setTimeout(() => limit.abort(), 5000);
    try {
      const answer = await request(PROBE_PATH, limit.signal);
      if (answer.status === 401) return;
      if (!answer.ok) throw new Error("away");
      if (lost || !body.dataset.events) { connected(); refreshAll(null); }
      if (body.dataset.events && !stream) open();
    } catch {
      if (!leaving) { lost = true; lostBanner.hidden = false; }
      retryConnection();
    } finally {
      clearTimeout(timer);
    }
  }

  function connected() {
    attempts = 0;
    lost = false;
    lostBanner.hidden = true;
  }

  function showSessionOver() {
    sessionOver = true;
    if (stream) { stream.close(); stream = null; }
    lostBanner.hidden = true;
    overBanner.hidden = false;
    const link = overBanner.querySelector("a");
    link.href = `/console/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
  }

  // Typed text survives a new sign-in: in this tab only, and only until it is restored.
  const storageKey = `zapline:${location.pathname}`;

  function saveTyped() {
    const typed = [...document.querySelectorAll("textarea[id], input[type=text][id]")].filter(edited);
    try { if (typed.length) sessionStorage.setItem(storageKey, JSON.stringify(typed.map(field => [field.id, field.value]))); } catch { /* no room */ }
  }

  function restoreTyped() {
    let typed = [];
    try { typed = JSON.parse(sessionStorage.getItem(storageKey) || "[]"); sessionStorage.removeItem(storageKey); } catch { /* not allowed */ }
    for (const [id, text] of typed) { const field = document.getElementById(id); if (field && !edited(field)) field.value = text; }
  }

  // Whether somebody wants to be told of messages while the page is hidden (alerts.js): then the stream stays.
  const watching = () => document.documentElement.hasAttribute("data-watching");

  function refreshSkipped() {
    for (const part of liveParts(null)) { const own = state(part); if (own.skipped) { own.skipped = false; refresh(part); } }
  }

  let hiddenTimer = null;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) {
      if (!watching()) hiddenTimer = setTimeout(() => { if (stream) { stream.close(); stream = null; } }, HIDDEN_AFTER);
      return;
    }
    if (body.dataset.events && !stream && !sessionOver) open();
    refreshSkipped();
  });
  addEventListener("resize", refreshSkipped);

  // -- times -----------------------------------------------------------------------------------------------------

  const skew = body.dataset.now ? Date.parse(body.dataset.now) - Date.now() : 0;
  const translate = (text, n) => (texts[text] || text).replace("{n}", n);

  function relativeTime(seconds) {
    const distance = Math.abs(seconds), ahead = seconds < 0;
    if (distance < 10) return translate("just now");
    const [n, unit] = distance < 60 ? [distance, "s"] : distance < 3600 ? [distance / 60, "min"] : distance < 86400 ? [distance / 3600, "h"] : [distance / 86400, "d"];
    return translate(ahead ? `in {n} ${unit}` : `{n} ${unit} ago`, Math.floor(n));
  }

  function updateTimes() {
    const now = Date.now() + skew;
    for (const each of document.querySelectorAll("time[data-ago]")) {
      const text = relativeTime((now - Date.parse(each.dateTime)) / 1000);
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
    if (event.target.matches("[data-picks]"))
      for (const box of event.target.form.querySelectorAll(`input[name="${event.target.dataset.picks}"]`)) box.checked = event.target.checked;
  });
  document.addEventListener("submit", event => {
    const form = event.target, part = (event.submitter && event.submitter.dataset.part) || form.dataset.part;
    if (form.method !== "post") return;
    if (form.matches("form.who")) try { sessionStorage.clear(); } catch { /* not allowed */ }
    if (part || "quietly" in form.dataset) { event.preventDefault(); sendForm(form, event.submitter, part); return; }
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";   // a second click does not send it again
    setTimeout(() => { delete form.dataset.sent; }, 3000);
  });
  document.addEventListener("input", event => {
    const form = event.target.closest("form[data-filters]");
    if (!form) return;
    clearTimeout(form.timer);
    form.timer = setTimeout(() => {
      const part = document.getElementById(form.dataset.filters), query = new URLSearchParams(new FormData(form));
      for (const [name, value] of [...query]) if (!value) query.delete(name);
      const search = query.size ? `?${query}` : "";
      part.dataset.src = part.dataset.src.split("?")[0] + search;
      history.replaceState(null, "", location.pathname + search);
      refresh(part);
    }, 200);
  });
  // Sends a form and replaces a part of the page by the answer; on failure the typed text stays.
  async function sendForm(form, submitter, part) {
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
      if (answer.status === 401) { showSessionOver(); return; }
      const text = await answer.text(), page = (answer.headers.get("Content-Type") || "").startsWith("text/html");
      if (page && target) {
        const focused = target.contains(document.activeElement);
        target.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
        const field = focused && target.querySelector("textarea");
        if (field) field.focus({ preventScroll: true });
        if (!target.contains(form)) target.scrollIntoView?.({ block: "nearest" });
      } else if (!answer.ok) fail(text || translate("It did not arrive. Send it again: it is sent once."));
      const stuck = answer.ok && form.dataset.wakes && document.querySelector("[data-stick]");
      if (stuck) stuck.scrollTop = stuck.scrollHeight;
      for (const kind of (form.dataset.wakes || "message").split(" ")) refreshAll(kind);
      document.dispatchEvent(new CustomEvent("zapline:sent", { detail: { form, ok: answer.ok } }));
    } catch { fail(translate("It did not arrive. Send it again: it is sent once.")); retryConnection(); } finally {
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

  // Puts older messages above the others and keeps the scroll position.
  document.addEventListener("click", async event => {
    const link = event.target.closest("a[data-above]");
    if (!link || event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    const placeholder = link.closest(".older"), box = link.closest(".messages"), fromEnd = box.scrollHeight - box.scrollTop;
    try {
      const answer = await request(link.dataset.above);
      if (!answer.ok) throw new Error("away");
      placeholder.replaceWith(...new DOMParser().parseFromString(await answer.text(), "text/html").body.childNodes);
      box.scrollTop = box.scrollHeight - fromEnd;
    } catch { location.href = link.href; }
  });

  document.addEventListener("click", async event => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    try { await navigator.clipboard.writeText(source.value ?? source.textContent); button.textContent = button.dataset.copied; } catch { source.select?.(); }
  });

  // -- start ----------------------------------------------------------------------------------------------------

  const instead = document.querySelector("[data-instead]");
  if (instead) history.replaceState(null, "", instead.dataset.instead);   // a reload must not create another secret
  const again = document.querySelector("[data-again]");
  if (again) setTimeout(() => location.reload(), again.dataset.again * 1000);
  for (const part of document.querySelectorAll("[data-stick]")) {
    let end = true;   // pictures that load late push the end down
    part.scrollTop = part.scrollHeight;
    part.addEventListener("scroll", () => { end = part.scrollHeight - part.clientHeight - part.scrollTop < 40; }, { passive: true });
    const stay = () => { if (end) part.scrollTop = part.scrollHeight; };
    part.addEventListener("load", stay, true);
    new ResizeObserver(stay).observe(part);
  }
  liveParts(null).forEach(announce);
  setInterval(updateTimes, 1000);
  updateTimes();
  if (document.querySelector("form.who")) {
    overBanner.querySelector("a").addEventListener("click", saveTyped);
    restoreTyped();
    if (body.dataset.events) open();
    setInterval(() => {
      if (document.hidden || sessionOver) return;
      if (!retry && Date.now() - receivedAt > SILENT_AFTER) probe();
      const now = Date.now();
      for (const part of liveParts(null)) if (part.dataset.every && now - state(part).fetchedAt >= part.dataset.every * 1000) refreshSoon(part, 0);
    }, 5000);
  }
})();
