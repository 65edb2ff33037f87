// Second job: everything that is served, as a table, and what to rent or buy for it.
import { ask } from "./api.js";
import { gauge } from "./charts.js";
import { el, table } from "./dom.js";
import { copyButton, datalist, editable, field, fillFromChoices, given, numberOf, sentences } from "./fields.js";
import { downloadButtons, explanationParts } from "./plan.js";
import { ms, num, percent, usd, whole, word } from "./words.js";

const START = { workloads: [{ name: "assistant", model: "Qwen/Qwen3-32B", workload: "chat", requests_per_s: 3 }, { name: "search", model: "Qwen/Qwen3-8B", workload: "rag", requests_per_s: 2 }], inventory: { gpu: ["l40s", "a100-sxm4-80gb", "h100-sxm"] }, headroom: 0.2, resilience: { spare_replicas: 1 }, comparisons: false };
const NUMBERS = ["requests_per_s", "concurrency", "input_tokens", "output_tokens", "target_context", "max_ttft_ms", "max_tpot_ms", "peak_factor"];

export function order(main, context) {
  const request = structuredClone(context.request ?? START);
  let rows = request.workloads?.length ? request.workloads : [{}];
  const models = datalist(main, "models", []), gpus = datalist(main, "gpus", []);
  let presets = ["chat", "rag"];
  const columns = [
    { key: "name", text: word("name") }, { key: "model", text: word("model"), list: () => models.id }, { key: "workload", text: word("preset"), options: () => presets },
    { key: "requests_per_s", text: word("requests"), number: true }, { key: "concurrency", text: word("users"), number: true }, { key: "input_tokens", text: word("input"), number: true }, { key: "output_tokens", text: word("output"), number: true },
    { key: "target_context", text: word("contextShort"), number: true }, { key: "max_ttft_ms", text: word("ttftMax"), number: true }, { key: "max_tpot_ms", text: word("tpotMax"), number: true }, { key: "peak_factor", text: word("peak"), number: true }];
  const input = (value, attributes = {}) => el("input", { value: value ?? "", autocomplete: "off", ...attributes });
  const gpu = input([request.inventory?.gpu ?? []].flat().join(", ")), headroom = input((request.headroom ?? 0) * 100, { inputmode: "decimal" });
  const spare = input(request.resilience?.spare_replicas ?? 0, { inputmode: "numeric" }), budget = input(request.limits?.budget_usd_per_month, { inputmode: "decimal" });
  const acquire = el("select", {}, [["rent", word("rent")], ["buy", word("buy")], ["rent,buy", word("both")]].map(([value, text]) => el("option", { value }, text)));
  acquire.value = [request.money?.acquire ?? "rent"].flat().join(",");
  const comparisons = el("input", { type: "checkbox" });
  comparisons.checked = request.comparisons === true;

  function asked() {
    const workloads = rows.filter((row) => Object.values(row).some((value) => value !== "" && value !== undefined)).map((row) => given({ ...row, ...Object.fromEntries(NUMBERS.map((key) => [key, numberOf(row[key])])) }));
    const { inventory = {}, money = {}, resilience = {}, limits = {} } = request;
    const names = gpu.value.split(/[,\s]+/).filter(Boolean);
    return given({ ...request, workloads, inventory: given({ ...inventory, gpu: names.length ? names : undefined }), money: { ...money, acquire: acquire.value.split(",") },
      resilience: given({ ...resilience, spare_replicas: numberOf(spare.value.trim()) }), limits: given({ ...limits, budget_usd_per_month: numberOf(budget.value.trim()) }),
      headroom: Number.isFinite(Number(headroom.value)) ? Number(headroom.value) / 100 : headroom.value, comparisons: comparisons.checked });
  }

  const sheet = editable(columns, rows, () => context.link(asked()));
  const answer = el("div", { class: "answer", "aria-live": "polite" });
  const go = el("button", { class: "main", type: "submit" }, word("solveOrder"));
  const share = copyButton(() => location.href);
  share.textContent = word("link");

  async function solve(event) {
    event?.preventDefault();
    const body = asked();
    context.link(body);
    go.disabled = true;
    answer.replaceChildren(el("section", { class: "lead" }, el("p", { class: "big" }, word("thinking"))));
    try { answer.replaceChildren(...fleetParts(await ask("procure", body), body).filter(Boolean)); }
    catch (error) { if (error.name !== "AbortError") answer.replaceChildren(el("section", { class: "lead bad", lang: "en" }, el("p", { class: "big" }, error.message))); }
    finally { go.disabled = false; }
  }

  main.append(el("form", { class: "answer", onsubmit: solve },
    el("section", {}, el("h2", {}, word("workloads")), el("p", { class: "soft" }, word("pasteHint")), sheet.node,
      el("div", { class: "grid" }, field(word("gpus"), gpu, el("small", {}, word("anyGpu"))),
        el("div", { class: "pair" }, field(word("headroom"), headroom), field(word("spare"), spare)),
        el("div", { class: "pair" }, field(word("acquire"), acquire), field(`${word("budget").split(/[,((]/)[0]}, USD ${word("perMonth")}`, budget))),
      el("label", { class: "check row" }, comparisons, word("comparisons")), el("div", { class: "row" }, go, share)), answer));
  fillFromChoices(main, context, (found) => {
    models.replaceChildren(...found.models.map((value) => el("option", { value })));
    gpus.replaceChildren(...found.gpus.map((each) => el("option", { value: each.id })));
    presets = found.workloads.map((each) => each.id);
    sheet.draw();
  });
  if (context.request) solve();
}

function fleetParts(fleet, body) {
  if (!fleet.totals) return [el("section", { class: "lead bad" }, el("p", { class: "big" }, word(fleet.status))), ...explanationParts(fleet.explanation), sentences(word("notes"), fleet.notes)];
  const total = fleet.totals;
  const what = fleet.nodes.map((each) => `${each.gpus} × ${each.gpu}`).join(" + ");
  return [
    el("section", { class: fleet.status === "optimal" ? "lead" : "lead warn" }, el("p", { class: "big" }, `${what}: ${usd(total.usd_per_month)} ${word("perMonth")}`), el("p", {}, word(fleet.status)),
      el("dl", { class: "facts" }, [["year1", usd(total.usd_per_month * 12)], ["year3", usd(total.usd_per_month * 36)], ["capex", usd(total.capex_usd)], ["gpus", whole(total.gpus)]].map(([name, value]) => el("div", {}, el("dt", {}, word(name)), el("dd", {}, value))))),
    el("section", {}, el("h2", {}, word("orderList")), table(
      [{ text: word("item") }, { text: word("provider") }, { text: word("quantity"), n: true }, { text: word("count"), n: true }, { text: word("usdPerHour"), n: true }, { text: word("monthly"), n: true }, { text: word("year3"), n: true }, { text: word("priced") }],
      fleet.nodes.map((each) => [`${each.what} (${word(each.kind)})`, each.provider, each.nodes, each.gpus, usd(each.usd_per_hour), { text: usd(each.usd_per_month), by: each.usd_per_month }, usd(each.usd_per_month * 36), { text: dated(each), by: each.as_of }]), { sortable: true, caption: word("orderList") })),
    el("section", {}, el("h2", {}, word("runs")), table(
      [{ text: word("name") }, { text: word("model") }, { text: "SKU" }, { text: word("replicas"), n: true }, { text: word("used"), n: true }, { text: word("ttft"), n: true }, { text: word("tpot"), n: true }, { text: word("format") }],
      fleet.assignments.map((each) => [each.workload, each.plan.model, each.gpu, each.replicas, { text: percent(each.utilisation), by: each.utilisation }, ms(each.plan.performance.ttft_ms), ms(each.plan.performance.tpot_ms), each.plan.quantization]), { sortable: true, caption: word("runs") })),
    el("section", {}, el("h2", {}, word("capacity")), fleet.assignments.map((each) => gauge({ name: `${each.workload} · ${each.gpu}`, value: each.load, limit: each.capacity, limitName: word("most"), text: (v) => `${num(v, { maximumSignificantDigits: 3 })} ${each.unit}` }))),
    el("section", {}, el("h2", {}, word("downloads")), downloadButtons("procure", body, ["html", "csv", "yaml", "json", "zip"])),
    fleet.single_gpu_fleets.length > 0 && el("section", {}, el("h2", {}, word("compare")), table([{ text: word("name") }, { text: word("monthly"), n: true }, { text: word("count"), n: true }, { text: "" }],
      fleet.single_gpu_fleets.map((each) => [each.name, { text: usd(each.usd_per_month), by: each.usd_per_month }, each.gpus, each.message]), { sortable: true, caption: word("compare") })),
    sentences(word("notes"), fleet.notes),
  ];
}

function dated(each) {
  const safe = /^https:\/\//.test(each.source);
  return safe ? el("a", { href: each.source, rel: "noreferrer noopener", target: "_blank" }, each.as_of) : each.as_of;
}
