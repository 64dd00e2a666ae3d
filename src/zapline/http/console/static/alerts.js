/* Tells of new messages while nobody looks: a sound, a notification, the number in the title and a dot on the icon.
 *
 * Somebody asks for it by a click on the bell, which asks the browser for permission; it is kept in this browser.
 */
// @ts-check

const button = /** @type {HTMLButtonElement | null} */ (document.querySelector("[data-alerts]"));
if (button) start(button);

/** @param {HTMLButtonElement} bell */
function start(bell) {
  const KEY = "zapline:alerts";
  const title = document.title, icon = /** @type {HTMLLinkElement} */ (document.querySelector("link[rel=icon]")), calm = icon.href;
  const announcement = /** @type {HTMLElement} */ (document.getElementById("announcement"));
  let sound = /** @type {AudioContext | null} */ (null), unseen = 0, rings = false;

  function kept() {
    try { return localStorage.getItem(KEY) === "on"; } catch { return false; }
  }

  function allowed() {
    return "Notification" in window && Notification.permission === "granted";
  }

  function show() {
    const on = kept();
    bell.setAttribute("aria-pressed", String(on));
    bell.title = (on ? bell.dataset.on : bell.dataset.off) || "";
    document.documentElement.toggleAttribute("data-watching", on);
  }

  bell.addEventListener("click", async () => {
    const on = !kept();
    try { localStorage.setItem(KEY, on ? "on" : "off"); } catch { /* for this page alone, then not at all */ }
    show();
    if (!on) return;
    ring();
    if ("Notification" in window && Notification.permission === "default") await Notification.requestPermission();
    announcement.textContent = (allowed() ? bell.dataset.on : bell.dataset.soundOnly) || "";
  });
  // Browsers let a page sound once somebody has touched it.
  addEventListener("pointerdown", () => { if (kept()) speaker()?.resume(); }, { once: true });

  function speaker() {
    if (!sound && "AudioContext" in window) sound = new AudioContext();
    return sound;
  }

  function ring() {
    const out = speaker();
    if (!out) return;
    out.resume();
    for (const [at, pitch] of [[0, 660], [0.16, 880]]) {
      const tone = out.createOscillator(), loudness = out.createGain(), begin = out.currentTime + at;
      tone.frequency.value = pitch;
      loudness.gain.setValueAtTime(0, begin);
      loudness.gain.linearRampToValueAtTime(0.2, begin + 0.02);
      loudness.gain.exponentialRampToValueAtTime(0.001, begin + 0.3);
      tone.connect(loudness).connect(out.destination);
      tone.start(begin);
      tone.stop(begin + 0.32);
    }
    document.dispatchEvent(new CustomEvent("zapline:rang"));
  }

  // Of several tabs one rings; another takes over when it is closed.
  if (navigator.locks) navigator.locks.request(KEY, () => { rings = true; return new Promise(() => {}); }); else rings = true;

  document.addEventListener("zapline:event", event => {
    const { kind, data } = /** @type {CustomEvent} */ (event).detail;
    if ((kind !== "message" && kind !== "traffic") || (!document.hidden && document.hasFocus())) return;
    const told = JSON.parse(data);
    if (kind === "message") {
      if (told.fromMe || told.backfilled || told.kind === "reaction") return;
      count(1);
      if (kept()) tell(told.senderName || bell.dataset.new || "", told.text || "", told.id, `/console/units/${told.unitId}/conversations/${told.conversationId}`);
    } else {
      const received = told.units.reduce((sum, unit) => sum + unit.received, 0);
      if (!received) return;
      count(received);
      if (kept()) tell(bell.dataset.new || "", "", "traffic", "/console/");
    }
  });

  /** @param {number} more */
  function count(more) {
    unseen += more;
    document.title = `(${unseen}) ${title}`;
    icon.href = bell.dataset.icon || calm;
  }

  function tell(who, text, tag, path) {
    if (rings) ring();
    if (!allowed()) return;
    const note = new Notification(who, { body: text.slice(0, 120), tag: `zapline:${tag}`, icon: calm });   // one, of however many tabs
    note.onclick = () => { window.focus(); note.close(); if (location.pathname !== path) location.href = path; };
  }

  function seen() {
    if (document.hidden || !document.hasFocus()) return;
    unseen = 0;
    document.title = title;
    icon.href = calm;
  }

  document.addEventListener("visibilitychange", seen);
  addEventListener("focus", seen);
  addEventListener("storage", event => { if (event.key === KEY) show(); });
  show();
}
