// Parts that several forms share.
import { download } from "./api.js";
import { el } from "./dom.js";
import { word } from "./words.js";

let last = 0;
export const id = (what) => `${what}-${(last += 1)}`;

export function field(label, control, hint = null) {
  return el("label", {}, el("span", {}, label, hint), control);
}

export function datalist(main, kind, values) {
  const list = el("datalist", { id: id(kind) }, values.map((value) => el("option", { value })));
  main.append(list);
  return list;
}

export function fillFromChoices(main, context, fill) {
  if (context.choices) fill(context.choices);
  else main.addEventListener("choices", (event) => fill(event.detail), { once: true });
}

export function copyButton(text) {
  const button = el("button", { type: "button" }, word("copy"));
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(text()); } catch { return; }
    button.textContent = word("copied");
    setTimeout(() => { button.textContent = word("copy"); }, 1500);
  });
  return button;
}

export function downloadButtons(verb, body, formats) {
  const said = el("p", { class: "no", role: "alert" });
  return el("div", {}, el("div", { class: "row" }, formats.map((format) => {
    const button = el("button", { type: "button", "data-format": format }, word(`d_${format}`));
    button.addEventListener("click", async () => {
      button.disabled = true;
      said.textContent = "";
      try { await download(verb, body, format); } catch (error) { said.textContent = error.message; } finally { button.disabled = false; }
    });
    return button;
  })), said);
}

// What a screen reader says of an answer: its first sentence, not the whole of it.
export function spoken() {
  const node = el("p", { class: "hidden", role: "status", "aria-live": "polite" });
  return { node, say: (answer) => { node.textContent = answer.querySelector(".big")?.textContent ?? ""; } };
}

export function sentences(title, lines) {
  return lines.length > 0 && el("section", {}, el("h2", {}, title), el("ul", { class: "plain", lang: "en" }, lines.map((each) => el("li", {}, each))));
}

// A table whose cells are typed into; rows of a spreadsheet may be pasted into any cell.
export function editable(columns, rows, changed) {
  const body = el("tbody");
  const holder = el("div", { class: "scroll" }, el("table", { class: "edit" },
    el("thead", {}, el("tr", {}, columns.map((column) => el("th", { scope: "col" }, column.text)), el("th", {}, el("span", { class: "hidden" }, word("remove"))))), body));
  function cell(row, column, number) {
    const label = `${column.text} ${number + 1}`;
    const value = row[column.key] ?? "";
    const control = column.options
      ? el("select", { "aria-label": label }, el("option", { value: "" }, "–"), column.options().map((each) => el("option", { value: each }, each)))
      : el("input", { "aria-label": label, list: column.list?.(), inputmode: column.number && "decimal", autocomplete: "off" });
    control.value = value;
    control.addEventListener("change", () => { row[column.key] = control.value.trim(); changed(); });
    control.addEventListener("paste", (event) => {
      const text = event.clipboardData.getData("text");
      if (!/[\t\n]/.test(text.trim())) return;
      event.preventDefault();
      pasted(text, number, columns.indexOf(column));
    });
    return el("td", {}, control);
  }
  function pasted(text, fromRow, fromColumn) {
    const lines = text.replace(/\r/g, "").split("\n").filter((each) => each.trim() !== "").map((each) => each.split("\t").map((part) => part.trim()));
    const named = lines[0].map((part) => columns.find((column) => [column.key, column.text.toLowerCase()].includes(part.toLowerCase().replace(/ /g, "_")) || column.text.toLowerCase() === part.toLowerCase()));
    const header = named.filter(Boolean).length > lines[0].length / 2;
    const order = header ? named : columns.slice(fromColumn);
    (header ? lines.slice(1) : lines).forEach((parts, down) => {
      rows[fromRow + down] ??= {};
      parts.forEach((part, across) => { if (order[across]) rows[fromRow + down][order[across].key] = order[across].number ? part.replace(/(?<=\d),(?=\d{3}\b)/g, "") : part; });
    });
    draw();
    changed();
  }
  function draw() {
    body.replaceChildren(...rows.map((row, number) => el("tr", {}, columns.map((column) => cell(row, column, number)),
      el("td", {}, el("button", { type: "button", "aria-label": `${word("remove")} ${number + 1}`, onclick: () => { rows.splice(number, 1); if (!rows.length) rows.push({}); draw(); changed(); } }, "×")))));
  }
  draw();
  return { node: el("div", {}, holder, el("div", { class: "row" }, el("button", { type: "button", onclick: () => { rows.push({}); draw(); } }, word("addRow")))), draw };
}

export const numberOf = (text) => (text === "" || text === undefined || text === null ? undefined : Number.isFinite(Number(text)) ? Number(text) : text);
export const given = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== "" && value !== null));
