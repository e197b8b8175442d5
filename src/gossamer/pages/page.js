"use strict";
// Embeds the charts with vega-embed, keeps their colours those of the page, shows the config of the point picked, and
// marks the layer picked in all charts.
const page = JSON.parse(document.getElementById("page-data").textContent);
const columns = Object.entries(page.points ?? {});
const points = (page.points?.id ?? []).map((_, row) => Object.fromEntries(columns.map(([name, values]) => [name, values[row]])));
const pointOf = new Map(points.map((point) => [point.id, point]));
const dark = matchMedia("(prefers-color-scheme: dark)");
const views = [];
let layer = "";

// A brush must not hide the points below it from the pointer; dragging from inside one starts another.
function seeThroughBrushes(mark) {
  if (/^(plane|range)\d+_brush/.test(mark.name ?? "")) mark.interactive = false;
  (mark.marks ?? []).forEach(seeThroughBrushes);
  return mark;
}

function paint(isDark) {
  for (const view of views) view.signal("dark", isDark).run();
}

function yamlOf(point) {
  const values = page.fields.map((field) => field.values[point[field.column] ?? 0]);
  const text = (value) => (typeof value === "string" ? JSON.stringify(value) : String(value));
  const workload = page.fields.flatMap((field, at) => (field.of_config ? [] : [`${field.name}: ${text(values[at])}`]));
  const head = `# Point ${point.id} of sweep ${JSON.stringify(page.sweep)}; ${workload.join(", ")}\n`;
  return head + page.template.replace(/<(name|field \d+)>/g, (_, name) =>
    name === "name" ? JSON.stringify(`${page.sweep}-${point.id}`) : text(values[name.slice(6)]));
}

function pick(id) {
  if (!pointOf.has(id)) return;
  document.getElementById("point-none").hidden = true;
  document.getElementById("point-some").hidden = false;
  document.getElementById("point-name").textContent = `Point ${id}`;
  document.getElementById("yaml").textContent = yamlOf(pointOf.get(id));
  document.getElementById("copied").textContent = "";
  tell(id);
}

function pickLayer(name) {
  if (name === undefined || name === "") return;
  layer = name === layer ? "" : name;
  tell(layer);
}

function tell(picked) {
  for (const view of views) if ("picked" in view.getState().signals) view.signal("picked", picked).run();
}

async function copyYaml() {
  const yaml = document.getElementById("yaml");
  const told = document.getElementById("copied");
  try {
    await navigator.clipboard.writeText(yaml.textContent);
    told.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(yaml);
    told.textContent = "selected: copy it with Ctrl+C";
  }
}

async function embed(name, specification) {
  if (page.points) specification.datasets.points = points;
  specification.params.find(({ name }) => name === "dark").value = dark.matches;
  const { view } = await vegaEmbed(`#chart-${name}`, specification, {
    actions: { export: true, source: false, compiled: false, editor: false },
    patch: (compiled) => ({ ...compiled, marks: compiled.marks.map(seeThroughBrushes) }),
    renderer: page.canvas.includes(name) ? "canvas" : "svg",
    scaleFactor: 2,
  });
  view.addEventListener("click", (_, item) => (page.points ? pick(item?.datum?.id) : pickLayer(item?.datum?.layer)));
  views.push(view);
}

document.getElementById("copy")?.addEventListener("click", copyYaml);
for (const button of document.querySelectorAll("button.pick")) {
  button.addEventListener("click", () => pick(Number(button.dataset.point)));
}
dark.addEventListener("change", () => paint(dark.matches));
addEventListener("beforeprint", () => paint(false));
addEventListener("afterprint", () => paint(dark.matches));
Promise.all(Object.entries(page.charts).map(([name, chart]) => embed(name, chart))).then(() => {
  paint(dark.matches);
  document.documentElement.dataset.ready = "yes";
});
