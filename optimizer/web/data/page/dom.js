// Elements from plain text only: nothing that a server or a person wrote is ever read as markup.
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "value") node.value = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) node.setAttribute(key, value);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function table(headings, rows, { sortable = false, caption = "", chosen = -1, tall = false } = {}) {
  const body = el("tbody");
  const fill = (order) => body.replaceChildren(...order.map((index) => el("tr", { class: index === chosen && "chosen" },
    rows[index].map((cell, column) => el("td", { class: headings[column].n && "n" }, shown(cell))))));
  const order = rows.map((_, index) => index);
  const head = headings.map((heading, column) => {
    const cell = el("th", { scope: "col", class: heading.n && "n" });
    cell.append(sortable ? el("button", { type: "button", onclick: () => sort(column) }, heading.text) : heading.text);
    return cell;
  });
  function sort(column) {
    const up = head[column].getAttribute("aria-sort") !== "ascending";
    head.forEach((cell) => cell.removeAttribute("aria-sort"));
    head[column].setAttribute("aria-sort", up ? "ascending" : "descending");
    order.sort((a, b) => compared(rows[a][column], rows[b][column]) * (up ? 1 : -1));
    fill(order);
  }
  fill(order);
  const label = caption || headings.map((heading) => heading.text).join(", ");
  return el("div", { class: tall ? "scroll tall" : "scroll", tabindex: "0", role: "region", "aria-label": label },
    el("table", {}, el("caption", { class: "hidden" }, label), el("thead", {}, el("tr", {}, head)), body));
}

const shown = (cell) => (cell && typeof cell === "object" && "text" in cell ? cell.text : cell ?? "–");
const key = (cell) => (cell && typeof cell === "object" && "by" in cell ? cell.by : cell);
function compared(a, b) {
  const [x, y] = [key(a), key(b)];
  if (x === null || x === undefined) return 1;
  if (y === null || y === undefined) return -1;
  return typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
}
