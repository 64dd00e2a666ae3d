// Checks a page for faults and returns a sentence for each. Run in the page by support/page_inspection.py.
({colors}) => {
  const found = [];
  const shown = element => element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});
  const named = element => element.outerHTML.replace(/\s+/g, " ").slice(0, 120);
  const all = selector => [...document.querySelectorAll(selector)];

  // -- what screen readers need
  if (!document.documentElement.lang) found.push("the page names no language");
  if (!document.title.trim()) found.push("the page has no title");
  if (all("main").length !== 1) found.push("the page has not exactly one <main>");
  for (const field of all("input:not([type=hidden]), select, textarea")) {
    const label = [...(field.labels || [])].map(one => one.textContent.trim()).join("");
    const refs = (field.getAttribute("aria-labelledby") || "").split(/\s+/).filter(Boolean);
    if (!label && !field.getAttribute("aria-label") && !refs.some(id => document.getElementById(id)))
      found.push(`a field has no label: ${named(field)}`);
  }
  for (const one of all("a[href], button, summary, [role=button]")) {
    const name = one.getAttribute("aria-label") || one.textContent.trim() || one.title
      || [...one.querySelectorAll("img[alt]")].map(img => img.alt).join("");
    if (shown(one) && !name) found.push(`nothing says what this does: ${named(one)}`);
  }
  for (const one of all("img:not([alt])")) found.push(`a picture has no alt: ${named(one)}`);
  for (const one of all("svg")) {
    const told = one.getAttribute("aria-hidden") === "true" || one.getAttribute("aria-label")
      || one.querySelector("title") || one.closest("[aria-hidden=true], [aria-label], [role=img]");
    if (shown(one) && !told) found.push(`a drawing has no words: ${named(one)}`);
  }
  let level = 0;
  for (const heading of all("h1, h2, h3, h4, h5, h6").filter(shown)) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) found.push(`h${level} is followed by h${next}: ${named(heading)}`);
    level = next;
  }
  if (all("h1").filter(shown).length !== 1) found.push("the page has not exactly one <h1>");
  const ids = new Map();
  for (const one of all("[id]")) ids.set(one.id, (ids.get(one.id) || 0) + 1);
  for (const [id, count] of ids) if (count > 1) found.push(`the id ${id} is there ${count} times`);
  for (const table of all("table")) if (!table.querySelector("th")) found.push(`no head in ${named(table)}`);

  // -- what no page may contain, whoever wrote its texts
  const ours = url => !url || new URL(url, location.href).origin === location.origin;
  for (const one of all("*")) {
    for (const attribute of one.attributes) {
      if (attribute.name.startsWith("on")) found.push(`an event handler: ${named(one)}`);
      if (attribute.name === "style" || attribute.name === "srcdoc") found.push(`${attribute.name}: ${named(one)}`);
    }
    if (one.tagName === "SCRIPT" && (!one.src || !ours(one.src))) found.push(`a script: ${named(one)}`);
    if (["IFRAME", "OBJECT", "EMBED", "BASE"].includes(one.tagName)) found.push(`not ours: ${named(one)}`);
    if (one.tagName === "FORM" && !ours(one.getAttribute("action"))) found.push(`a form leads away: ${named(one)}`);
    if (one.tagName === "LINK" && !ours(one.href)) found.push(`a link leads away: ${named(one)}`);
    const target = one.getAttribute("href");
    if (one.tagName === "A" && target !== null && !/^(https?|mailto|tel):$/.test(new URL(target, location.href).protocol))
      found.push(`a link to no page: ${named(one)}`);
    if (one.tagName === "A" && target !== null && !ours(target) && !/\bnoopener\b|\bnoreferrer\b/.test(one.rel))
      found.push(`a link tells where it was followed from: ${named(one)}`);
  }

  // -- what is visibly wrong
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (wide > 0) {
    const right = one => one.getBoundingClientRect().right;
    const scrolled = one => {
      for (let around = one.parentElement; around; around = around.parentElement)
        if (getComputedStyle(around).overflowX !== "visible") return right(around) <= innerWidth + 1;
      return false;
    };
    const out = all("body *").filter(one => shown(one) && right(one) > innerWidth + 1 && !scrolled(one));
    found.push(`the page is ${wide} px too wide: ${out.slice(0, 3).map(named).join(" | ")}`);
  }
  const below = document.documentElement.scrollHeight - Math.max(innerHeight, document.body.getBoundingClientRect().bottom
    + scrollY);
  if (below > 40) found.push(`there are ${Math.round(below)} px of nothing below the page`);
  if (!colors) return found;
  const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const known = new Map();
  const rgba = color => {
    if (!known.has(color)) known.set(color, painted(color));
    return known.get(color);
  };
  const painted = color => {
    paint.clearRect(0, 0, 1, 1); paint.fillStyle = color; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data];
  };
  const over = (top, below) => top.slice(0, 3).map((part, i) => part * top[3] / 255 + below[i] * (1 - top[3] / 255));
  const behind = element => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const color = rgba(getComputedStyle(one).backgroundColor);
      layers.push(color);
      if (color[3] === 255) break;
    }
    const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
    return layers.reverse().reduce((below, layer) => over(layer, below), canvas);
  };
  const light = color => {
    const [r, g, b] = color.map(part => part / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pale = new Map();
  for (const element of all("body *:not(script):not(style):not(svg):not(svg *)")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !shown(element) || element.matches(":disabled, :disabled *, option, .visually-hidden")) continue;
    const style = getComputedStyle(element), ground = behind(element);
    const [a, b] = [light(over(rgba(style.color), ground)), light(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) pale.set(`${style.color} on ${ground.map(Math.round)}`, [ratio, element]);
  }
  for (const [colors, [ratio, element]] of pale)
    found.push(`hard to read (${ratio.toFixed(1)}:1, ${colors}): ${named(element)}`);
  return found;
}
