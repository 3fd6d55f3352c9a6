// Draws every chart of a page: as wide as its box, again when the page turns dark or the box changes.
// Bundled with the Vega libraries; `vegaEmbed` is theirs. Nothing here talks to a network.

const NARROW = 560; // px; below this, panels go under each other and legends below the plot
const darkScheme = window.matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const themes = [document.body, document.documentElement].map((node) => node.dataset.theme);
  if (themes.includes("dark")) return true;
  return themes.includes("light") ? false : darkScheme.matches;
}

const CHILDREN = ["layer", "hconcat", "vconcat", "concat"];
const isPanel = (spec) => "mark" in spec || "layer" in spec;
const facets = (spec) => ["row", "column", "facet"].filter((key) => spec.encoding?.[key]);
const isSingle = (spec) => isPanel(spec) && facets(spec).length === 0;

// Panels side by side; they share what the box is wider or narrower than the drawing.
function columns(spec) {
  if (spec.hconcat) return spec.hconcat.map(columns).reduce((sum, count) => sum + count, 0);
  if (spec.vconcat) return Math.max(...spec.vconcat.map(columns));
  if (spec.concat) return Math.min(spec.columns ?? spec.concat.length, spec.concat.length);
  return spec.columns ?? spec.encoding?.facet?.columns ?? 1;
}

// A discrete x axis without a width takes a fixed step a bar, which is right as it is.
function hasSteps(spec) {
  if (typeof spec.width === "object") return true;
  const x = spec.encoding?.x ?? spec.layer?.map((part) => part.encoding?.x).find(Boolean);
  return spec.width === undefined && ["nominal", "ordinal"].includes(x?.type);
}

function panels(spec) {
  if (isPanel(spec)) return [spec];
  if (spec.spec) return panels(spec.spec);
  return CHILDREN.flatMap((key) => spec[key] ?? []).flatMap(panels);
}

function legends(node) {
  if (node === null || typeof node !== "object") return [];
  const own = Object.entries(node).flatMap(([key, item]) => (key === "data" || key === "datasets" ? [] : legends(item)));
  return node.legend && typeof node.legend === "object" ? [node.legend, ...own] : own;
}

function wrap(text, width, size) {
  if (typeof text !== "string") return text;
  const room = Math.max(12, Math.floor(width / (0.62 * size)));
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines[lines.length - 1];
    if (line && line.length + word.length + 1 > room) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines.length > 1 ? lines : text;
}

function wrapTitle(spec, width) {
  if (!spec.title) return;
  if (typeof spec.title === "string" || Array.isArray(spec.title)) spec.title = { text: spec.title };
  spec.title.text = wrap(spec.title.text, width, 15);
  if (spec.title.subtitle) spec.title.subtitle = wrap(spec.title.subtitle, width, 12);
}

function prepare(original, width, dark) {
  const spec = structuredClone(original);
  const config = (spec.config ??= {});
  if (dark) Object.assign(config, spec.usermeta?.dark);
  wrapTitle(spec, width);
  if (width < NARROW) {
    config.axisX = { ...config.axisX, labelFlush: 20 }; // the outer numbers stay inside
    for (const legend of legends(spec)) legend.columns = Math.min(legend.columns ?? 4, 4);
    config.legend = { ...config.legend, orient: "bottom", direction: "horizontal", columns: 4 };
    if (spec.hconcat) {
      spec.vconcat = spec.hconcat;
      delete spec.hconcat;
    }
    for (const owner of [spec, spec.encoding?.facet]) if (owner?.columns) owner.columns = 1;
  }
  if (isSingle(spec) && !hasSteps(spec)) fit(spec, width);
  return spec;
}

function fit(spec, width) {
  spec.width = width;
  spec.autosize = { type: "fit-x", contains: "padding" };
}

async function embed(box, spec, dark) {
  const result = await vegaEmbed(box.canvas, spec, {
    renderer: "svg", // its words take the colour of the page, and a screen reader finds them
    actions: { export: true, source: false, compiled: false, editor: false },
    logLevel: 1, // errors; its warnings are about sizes that are set here
    tooltip: { theme: dark ? "dark" : "light" },
    downloadFileName: document.title.replace(/\W+/g, "-"),
  });
  box.result = result;
  return box.canvas.querySelector("svg.marks").getBoundingClientRect().width;
}

// How long the words of a legend are shows only once it is drawn: use fewer columns until it fits.
async function narrowLegends(box, spec, dark) {
  for (const columns of [3, 2, 1]) {
    const edge = box.canvas.getBoundingClientRect().right + 1;
    const drawn = [...box.canvas.querySelectorAll(".role-legend")];
    if (!drawn.some((legend) => legend.getBoundingClientRect().right > edge)) return;
    for (const legend of [spec.config.legend ?? {}, ...legends(spec)]) legend.columns = columns;
    box.result.finalize();
    await embed(box, spec, dark);
  }
  // one column, and still too wide: the words go on in a second line
  const words = [...box.canvas.querySelectorAll(".role-legend-label text")].map((text) => text.textContent);
  const lines = JSON.stringify(Object.fromEntries(words.map((word) => [word, wrap(word, box.width - 70, 12)])));
  for (const legend of legends(spec)) legend.labelExpr = `${lines}[datum.label]`;
  box.result.finalize();
  await embed(box, spec, dark);
}

async function draw(box) {
  const width = Math.floor(box.node.clientWidth);
  const dark = isDark();
  if (!width || (box.width === width && box.dark === dark)) return;
  Object.assign(box, { width, dark });
  try {
    const spec = prepare(box.spec, width, dark);
    box.result?.finalize();
    const drawn = await embed(box, spec, dark);
    if (isSingle(spec)) {
      if (spec.width === undefined && drawn > width) {
        // bars at their usual step do not fit: let them be narrower
        fit(spec, width);
        box.result.finalize();
        await embed(box, spec, dark);
      }
    } else {
      // axes and legends keep their size, so what is missing or left over belongs to the panels
      const views = panels(spec).filter((view) => !hasSteps(view));
      const change = (width - 2 - drawn) / columns(spec);
      if (views.length && Math.abs(change) > 2) {
        const room = spec.config.view?.continuousWidth ?? 300;
        for (const view of views) view.width = Math.max(120, Math.min((view.width ?? room) + change, 1.6 * room));
        box.result.finalize();
        await embed(box, spec, dark);
      }
    }
    await narrowLegends(box, spec, dark);
    box.node.classList.add("drawn");
  } catch (error) {
    box.canvas.textContent = `This chart could not be drawn: ${error.message}`;
    console.error(error);
  }
}

function start() {
  const boxes = [...document.querySelectorAll("div.chart")].map((node) => {
    const data = node.querySelector("script[type='application/json']").textContent;
    const canvas = node.appendChild(document.createElement("div"));
    return { node, canvas, spec: JSON.parse(data) };
  });
  if (!boxes.length) return;
  let queue = Promise.resolve();
  let timer;
  const redraw = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      for (const box of boxes) queue = queue.then(() => draw(box));
    }, 60);
  };
  new ResizeObserver(redraw).observe(document.body);
  const theme = new MutationObserver(redraw);
  for (const node of [document.body, document.documentElement]) theme.observe(node, { attributeFilter: ["data-theme"] });
  darkScheme.addEventListener("change", redraw);
  redraw();
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
