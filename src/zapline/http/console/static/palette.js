/* Ctrl-K (or Cmd-K): finds a unit, a conversation or a message from every page, by keyboard alone. */
// @ts-check

const dialog = /** @type {HTMLDialogElement | null} */ (document.getElementById("palette"));
if (dialog) start(dialog);

/** @param {HTMLDialogElement} box */
function start(box) {
  const field = /** @type {HTMLInputElement} */ (box.querySelector("input")), found = /** @type {HTMLElement} */ (box.querySelector("[data-found]"));
  let asked = /** @type {AbortController | null} */ (null), timer = 0;

  const links = () => [...found.querySelectorAll("a")];

  function open() {
    if (box.open) { box.close(); return; }
    box.showModal();
    field.select();
    ask();
  }

  async function ask() {
    asked?.abort();
    const mine = asked = new AbortController();
    box.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(`${box.dataset.find}${encodeURIComponent(field.value.trim())}`, { headers: { "X-Zapline-Live": "1" }, cache: "no-store", signal: mine.signal });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (asked === mine) found.replaceChildren(...page.body.childNodes);
    } catch { /* the next letter asks again */ } finally { if (asked === mine) box.removeAttribute("aria-busy"); }
  }

  document.addEventListener("keydown", event => {
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") { event.preventDefault(); open(); }
  });
  document.addEventListener("click", event => {
    if (/** @type {Element} */ (event.target).closest("[data-palette]")) open();
    else if (event.target === box) box.close();   // beside the card
  });
  field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 150); });
  box.addEventListener("keydown", event => {
    const all = links(), at = all.indexOf(/** @type {HTMLAnchorElement} */ (document.activeElement));
    if (event.key === "ArrowDown") (all[at + 1] || all[0])?.focus();
    else if (event.key === "ArrowUp") (at > 0 ? all[at - 1] : field).focus();
    else if (event.key === "Enter" && document.activeElement === field && !event.isComposing) all[0]?.click();
    else return;
    event.preventDefault();
  });
  box.querySelector("form")?.addEventListener("submit", event => event.preventDefault());
}
