/* The composer of a conversation: quick replies behind "/", files that are pasted or dropped, voice notes, and which message
 * is answered. Without it the form sends text and one chosen file.
 */
// @ts-check

const composer = /** @type {HTMLElement | null} */ (document.querySelector(".composer"));
if (composer) start(composer);

/** @param {HTMLElement} box */
function start(box) {
  const MAX_SECONDS = 600;   // of a voice note
  const TYPES = ["audio/ogg;codecs=opus", "audio/webm;codecs=opus", "audio/mp4"];   // Evolution makes a voice note of each
  const ENDINGS = { "audio/ogg": "ogg", "audio/webm": "webm", "audio/mp4": "m4a" };

  const form = () => /** @type {HTMLFormElement} */ (box.querySelector("form.reply"));
  const field = () => /** @type {HTMLTextAreaElement} */ (form().elements.namedItem("text"));
  const chosen = () => /** @type {HTMLInputElement} */ (form().elements.namedItem("file"));
  const hidden = name => /** @type {HTMLInputElement} */ (form().elements.namedItem(name));

  /** @param {string} text */
  function write(text) {
    field().value = text;
    field().dispatchEvent(new Event("input", { bubbles: true }));
  }

  // -- what was begun: it waits in this tab until it is sent, or somebody signs out (console.js) -----------------------

  const draftKey = `zapline:draft:${location.pathname}`;

  function saveDraft() {
    if (kept) return;
    try {
      if (field().value.trim()) sessionStorage.setItem(draftKey, field().value); else sessionStorage.removeItem(draftKey);
    } catch { /* no room, or not allowed */ }
  }

  let kept = "";   // what was typed while a voice note is sent
  try { if (!field().value) field().value = sessionStorage.getItem(draftKey) || ""; } catch { /* not allowed */ }
  document.addEventListener("input", event => { if (event.target === field()) { saveDraft(); tellTyping(); } });

  // -- colleagues are told that somebody types ---------------------------------------------------------------------------

  const TELL_EVERY = 5000;   // ms; the server believes it for 12 s
  let toldAt = 0, idle = 0;

  function tellTyping() {
    clearTimeout(idle);
    if (!field().value.trim()) { tell(false); return; }
    idle = setTimeout(() => tell(false), TELL_EVERY);
    if (Date.now() - toldAt > TELL_EVERY) tell(true);
  }

  function tell(active) {
    clearTimeout(idle);
    if (!active && !toldAt) return;
    toldAt = active ? Date.now() : 0;
    const said = new FormData();
    said.set("csrf", hidden("csrf").value);
    if (active) said.set("active", "1");
    fetch(box.dataset.typing || "", { method: "POST", body: said, headers: { "X-Zapline-Live": "1" }, keepalive: true }).catch(() => {});
  }

  // -- quick replies ---------------------------------------------------------------------------------------------

  const panel = /** @type {HTMLElement} */ (box.querySelector(".quick"));
  const list = /** @type {HTMLElement} */ (panel.querySelector("ul"));
  let replies = /** @type {HTMLElement[] | null} */ (null), asking = false, readAt = 0;

  async function readReplies() {
    if (asking || (replies && Date.now() - readAt < 60000)) return;
    asking = true;
    try {
      const answer = await fetch(box.dataset.replies || "", { headers: { "X-Zapline-Live": "1" }, cache: "no-store" });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      replies = [...page.querySelectorAll("li")];
      readAt = Date.now();
    } catch { /* the next letter asks again */ } finally { asking = false; }
    offer();
  }

  // What is typed behind a slash at the very beginning, as long as it is one word.
  function wanted() {
    const found = /^\/(\S*)$/.exec(field().value);
    return found ? found[1].toLowerCase() : null;
  }

  function offer() {
    const words = wanted();
    if (words === null) { close(); return; }
    panel.hidden = false;
    if (!replies) { readReplies(); return; }
    const begin = replies.filter(one => (one.dataset.shortcut || "").startsWith(words));
    const hold = words ? replies.filter(one => !begin.includes(one) && (one.textContent || "").toLowerCase().includes(words)) : [];
    list.replaceChildren(...begin, ...hold);
    list.hidden = !list.children.length;
    /** @type {HTMLElement} */ (panel.querySelector("[data-none]")).hidden = list.children.length > 0;
    mark(list.firstElementChild);
  }

  /** @param {Element | null} option */
  function mark(option) {
    for (const one of list.children) one.setAttribute("aria-selected", String(one === option));
    if (option) { field().setAttribute("aria-activedescendant", option.id); option.scrollIntoView({ block: "nearest" }); }
    else field().removeAttribute("aria-activedescendant");
  }

  function close() {
    if (panel.hidden) return;
    panel.hidden = true;
    field().removeAttribute("aria-activedescendant");
  }

  /** @param {Element} option */
  function choose(option) {
    close();
    write(option.querySelector("span")?.textContent || "");
    field().focus();
  }

  document.addEventListener("input", event => { if (event.target === field()) offer(); });
  list.addEventListener("pointerdown", event => event.preventDefault());   // the focus stays in the text
  list.addEventListener("click", event => {
    const option = /** @type {Element} */ (event.target).closest("li");
    if (option) choose(option);
  });
  document.addEventListener("focusout", event => { if (event.target === field() && !panel.contains(/** @type {Node} */ (event.relatedTarget))) close(); });
  // Before the listener that sends by Enter.
  document.addEventListener("keydown", event => {
    if (panel.hidden || event.target !== field() || event.isComposing) return;
    const at = /** @type {HTMLElement | null} */ (list.querySelector("[aria-selected=true]"));
    if (event.key === "Escape") close();
    else if (event.key === "ArrowDown") mark(at?.nextElementSibling || list.firstElementChild);
    else if (event.key === "ArrowUp") mark(at?.previousElementSibling || list.lastElementChild);
    else if ((event.key === "Enter" || event.key === "Tab") && at && !event.shiftKey) choose(at);
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);

  // -- which message is answered ---------------------------------------------------------------------------------

  document.addEventListener("click", event => {
    const link = /** @type {Element} */ (event.target).closest("[data-answer]");
    if (!(link instanceof HTMLElement) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    hidden("reply_to").value = link.dataset.answer || "";
    const line = /** @type {HTMLElement} */ (form().querySelector("[data-answering]"));
    line.hidden = !link.dataset.answer;
    const bubble = link.closest(".bubble"), said = bubble?.querySelector(".text, .note, .gone, .picture");
    /** @type {HTMLElement} */ (line.querySelector("[data-answered]")).textContent = (said?.textContent || "…").trim().slice(0, 140);
    link.closest("details")?.removeAttribute("open");
    field().focus();
  });
  // A choice of an emoji closes its list.
  document.addEventListener("submit", event => {
    if (/** @type {HTMLElement} */ (event.target).id === "react") event.submitter?.closest("details")?.removeAttribute("open");
  });

  // -- files -----------------------------------------------------------------------------------------------------

  let waiting = /** @type {File[]} */ ([]);   // those after the first, which is in the form; each is a message

  /** @param {File[]} files */
  function attach(files) {
    if (!chosen().files?.length) put(files.shift());
    waiting.push(...files);
    showFiles();
    field().focus();
  }

  /** @param {File | undefined} file */
  function put(file) {
    const transfer = new DataTransfer();
    if (file) transfer.items.add(file);
    chosen().files = transfer.files;
  }

  function showFiles() {
    const files = [...(chosen().files || []), ...waiting], shown = /** @type {HTMLElement} */ (form().querySelector("[data-attached]"));
    shown.hidden = !files.length;
    shown.replaceChildren(...files.map((file, index) => {
      const item = document.createElement("li"), name = document.createElement("bdi"), remove = document.createElement("button");
      name.textContent = file.name;
      remove.type = "button";
      remove.className = "quiet small";
      remove.textContent = "×";
      remove.dataset.file = String(index);
      remove.setAttribute("aria-label", (box.dataset.remove || "").replace("{file}", file.name));
      if (file.type.startsWith("image/")) item.append(picture(file));
      item.append(name, remove);
      return item;
    }));
  }

  // Drawn, because the page's policy lets pictures come from the server alone.
  function picture(file) {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true");
    createImageBitmap(file).then(bitmap => {
      const scale = Math.min(1, 96 / bitmap.height, 160 / bitmap.width);
      canvas.width = Math.max(1, bitmap.width * scale);
      canvas.height = Math.max(1, bitmap.height * scale);
      canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      bitmap.close();
    }, () => canvas.remove());
    return canvas;
  }

  box.addEventListener("change", event => { if (event.target === chosen()) showFiles(); });
  box.addEventListener("click", event => {
    const button = /** @type {Element} */ (event.target).closest("[data-file]");
    if (!(button instanceof HTMLElement)) return;
    const index = Number(button.dataset.file);
    if (index) waiting.splice(index - 1, 1); else put(waiting.shift());
    showFiles();
    field().focus();
  });
  box.addEventListener("paste", event => {
    const files = [...(event.clipboardData?.files || [])];
    if (!files.length || event.clipboardData?.types.includes("text/plain")) return;   // a copied cell is text and picture
    event.preventDefault();
    attach(files);
  });
  const thread = /** @type {HTMLElement} */ (box.closest(".thread"));
  let inside = 0;
  const carries = event => [...(event.dataTransfer?.types || [])].includes("Files");
  thread.addEventListener("dragenter", event => { if (carries(event)) { inside += 1; thread.classList.add("dropping"); } });
  thread.addEventListener("dragleave", event => { if (carries(event) && (inside -= 1) <= 0) { inside = 0; thread.classList.remove("dropping"); } });
  thread.addEventListener("dragover", event => { if (carries(event)) event.preventDefault(); });
  thread.addEventListener("drop", event => {
    if (!carries(event)) return;
    event.preventDefault();
    inside = 0;
    thread.classList.remove("dropping");
    attach([...(event.dataTransfer?.files || [])]);
  });
  document.addEventListener("zapline:sent", event => {
    const { form: sent, ok } = /** @type {CustomEvent} */ (event).detail;
    if (!sent.matches("form.reply")) return;
    const typed = kept;
    kept = "";
    if (typed && !field().value) write(typed);
    saveDraft();
    tell(false);
    if (!ok || !waiting.length) { showFiles(); return; }
    put(waiting.shift());
    showFiles();
    form().requestSubmit();
  });

  // -- voice notes -----------------------------------------------------------------------------------------------

  const bar = /** @type {HTMLElement} */ (box.querySelector(".recording")), time = /** @type {HTMLElement} */ (bar.querySelector("[data-time]"));
  let recorder = /** @type {MediaRecorder | null} */ (null), ticking = 0, sends = false;

  async function record() {
    if (recorder) return;
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch {
      const error = /** @type {HTMLElement} */ (form().querySelector("[data-error]"));
      error.textContent = box.dataset.denied || "";
      error.hidden = false;
      return;
    }
    const parts = /** @type {Blob[]} */ ([]), began = Date.now();
    const type = TYPES.find(one => MediaRecorder.isTypeSupported(one));
    const mine = recorder = new MediaRecorder(stream, { ...(type ? { mimeType: type } : {}), audioBitsPerSecond: 32000 });
    sends = false;
    mine.ondataavailable = event => { if (event.data.size) parts.push(event.data); };
    mine.onstop = () => {
      for (const track of stream.getTracks()) track.stop();
      clearInterval(ticking);
      recorder = null;
      bar.hidden = true;
      form().hidden = false;
      field().focus();
      if (sends && parts.length) sendNote(new Blob(parts, { type: mine.mimeType }));
    };
    mine.start(1000);
    bar.hidden = false;
    form().hidden = true;
    time.textContent = "0:00";
    /** @type {HTMLElement} */ (bar.querySelector("[data-send]")).focus();
    ticking = setInterval(() => {
      const seconds = Math.floor((Date.now() - began) / 1000);
      time.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
      if (seconds >= MAX_SECONDS && recorder) { clearInterval(ticking); recorder.pause(); }
    }, 250);
  }

  /** @param {Blob} sound */
  function sendNote(sound) {
    const type = sound.type.split(";")[0];
    kept = field().value;
    field().value = "";
    put(new File([sound], `voice.${ENDINGS[type] || "bin"}`, { type }));
    hidden("voice").value = "1";
    form().requestSubmit();
  }

  function stop(send) {
    sends = send;
    recorder?.stop();
  }

  box.addEventListener("click", event => {
    const target = /** @type {Element} */ (event.target);
    if (target.closest("[data-record]")) record();
    else if (target.closest("[data-discard]")) stop(false);
    else if (target.closest("[data-send]")) stop(true);
  });
  bar.addEventListener("keydown", event => { if (event.key === "Escape") stop(false); });
  addEventListener("pagehide", () => stop(false));
}
