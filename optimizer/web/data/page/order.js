// Second job: everything that is served, as a table, and what to rent or buy for it.
import { ask } from "./api.js";
import { bar, gauge, lines, tornado } from "./charts.js";
import { el, table } from "./dom.js";
import { copyButton, datalist, downloadButtons, editable, field, fillFromChoices, given, numberOf, sentences, spoken } from "./fields.js";
import { explanationParts } from "./plan.js";
import { ms, num, percent, usd, whole, word } from "./words.js";

const START = { workloads: [{ name: "assistant", model: "Qwen/Qwen3-32B", workload: "chat", requests_per_s: 3 }, { name: "search", model: "Qwen/Qwen3-8B", workload: "rag", requests_per_s: 2 }], inventory: { gpu: ["l40s", "a100-sxm4-80gb", "h100-sxm"] }, headroom: 0.2, resilience: { spare_replicas: 1 }, comparisons: true };
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
  const answer = el("div", { class: "answer" }), status = spoken();
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
    finally { go.disabled = false; status.say(answer); }
  }

  main.append(el("form", { class: "answer", onsubmit: solve },
    el("section", {}, el("h2", {}, word("workloads")), el("p", { class: "soft" }, word("pasteHint")), sheet.node,
      el("div", { class: "grid" }, field(word("gpus"), gpu, el("small", {}, word("anyGpu"))),
        el("div", { class: "pair" }, field(word("headroom"), headroom), field(word("spare"), spare)),
        el("div", { class: "pair" }, field(word("acquire"), acquire), field(word("budgetMonth"), budget))),
      el("label", { class: "check row" }, comparisons, word("comparisons")), el("div", { class: "row" }, go, share)), status.node, answer));
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
      [{ text: word("item") }, { text: word("provider") }, { text: word("quantity"), n: true }, { text: word("count"), n: true }, { text: word("unitPrice"), n: true }, { text: word("monthly"), n: true }, { text: word("year1"), n: true }, { text: word("year3"), n: true }, { text: word("priced") }],
      fleet.nodes.map((each) => [`${each.what} (${word(each.kind)})`, each.provider, each.nodes, each.gpus, each.kind === "buy" ? usd(each.capex_usd / each.gpus) : `${usd(each.usd_per_hour / each.gpus)}/h`, { text: usd(each.usd_per_month), by: each.usd_per_month }, usd(each.usd_per_month * 12), usd(each.usd_per_month * 36), { text: dated(each), by: each.as_of }]), { sortable: true, caption: word("orderList") })),
    el("section", {}, el("h2", {}, word("runs")), table(
      [{ text: word("name") }, { text: word("model") }, { text: "SKU" }, { text: word("replicas"), n: true }, { text: word("used"), n: true }, { text: word("ttft"), n: true }, { text: word("tpot"), n: true }, { text: word("format") }],
      fleet.assignments.map((each) => [each.workload, each.plan.model, each.gpu, each.replicas, { text: percent(each.utilisation), by: each.utilisation }, ms(each.plan.performance.ttft_ms), ms(each.plan.performance.tpot_ms), each.plan.quantization]), { sortable: true, caption: word("runs") })),
    el("div", { class: "grid" }, el("section", { class: "card" }, el("h2", {}, word("capacity")), fleet.workloads.map((each) => capacityOf(fleet, each)), el("p", { class: "soft" }, word("withoutSpares"))),
      el("section", { class: "card" }, el("h2", {}, word("demandLimits")), fleet.assignments.flatMap((each) => limitsOf(fleet, each)))),
    moneyOf(fleet),
    el("section", {}, el("h2", {}, word("downloads")), downloadButtons("procure", body, ["zip", "html", "xlsx", "csv", "servers", "workloads", "yaml", "json", "table"])),
    fleet.single_gpu_fleets.length > 0 && el("section", {}, el("h2", {}, word("compare")), table([{ text: word("name") }, { text: word("monthly"), n: true }, { text: word("count"), n: true }, { text: word("dearer"), n: true }],
      fleet.single_gpu_fleets.map((each) => [each.name, { text: usd(each.usd_per_month), by: each.usd_per_month }, each.gpus, each.relative === null ? { text: each.message, by: null } : { text: num(each.relative, { style: "percent", maximumSignificantDigits: undefined, maximumFractionDigits: 0, signDisplay: "always" }), by: each.relative }]), { sortable: true, caption: word("compare") })),
    sentences(word("notes"), fleet.notes),
  ];
}

// The date of a price, linked to where it was read: a web address, or a file of a repository at a commit.
function dated(each) {
  const file = /^([\w.-]+\/[\w.-]+):(.+)@([0-9a-f]{40})$/.exec(each.source.trim()), web = /https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:)]/.exec(each.source);
  const href = file ? `https://github.com/${file[1]}/blob/${file[3]}/${file[2]}` : web?.[0];
  return href ? el("a", { href, rel: "noreferrer noopener", target: "_blank" }, each.as_of) : each.as_of;
}

const named = (fleet, name) => fleet.request.workloads?.find((each) => each.name === name) ?? {};

// The capacity of a workload's servers, and what its peak, its headroom and its spares take of it.
function capacityOf(fleet, each) {
  const mine = fleet.assignments.filter((one) => one.workload === each.workload), whole = mine.reduce((sum, one) => sum + one.capacity, 0);
  if (!(whole > 0)) return null;
  const asked = each.peak * each.served, demand = asked / (1 + (fleet.request.headroom ?? 0));
  const spares = named(fleet, each.workload).spare_replicas ?? fleet.request.resilience?.spare_replicas ?? 0;
  const replicas = mine.flatMap((one) => Array(one.replicas).fill(one.capacity / one.replicas)).sort((a, b) => b - a);
  const left = whole - replicas.slice(0, spares).reduce((sum, one) => sum + one, 0);
  const text = (value) => `${num(value, { maximumSignificantDigits: 3 })} ${each.unit}`;
  return [el("h3", {}, each.workload), bar({ label: each.workload, whole, text, line: spares > 0 && left > 0 ? left : null, parts: [
    { name: word("demandPart"), value: demand, kind: "a" }, { name: word("headroomPart"), value: asked - demand, kind: "c" }, { name: word("freePart"), value: Math.max(0, whole - asked), kind: "f" }] })];
}

function limitsOf(fleet, each) {
  const speed = each.plan.performance, asked = named(fleet, each.workload), name = (figure) => `${each.workload} · ${each.gpu} · ${word(figure)}`;
  return [gauge({ name: name("ttft"), value: speed.ttft_ms, interval: speed.interval.ttft_ms, limit: asked.max_ttft_ms, text: ms }),
    speed.tpot_ms !== null && gauge({ name: name("tpot"), value: speed.tpot_ms, interval: speed.interval.tpot_ms, limit: asked.max_tpot_ms, text: ms })].filter(Boolean);
}

function moneyOf(fleet) {
  const charts = fleet.break_even.map((each) => {
    const last = Math.min(60, Math.max(12, Math.ceil(1.5 * (each.months ?? 0)))), at = [0, 1, 2, 3, 4, 5, 6].map((step) => (last * step) / 6);
    return el("div", {}, lines({ caption: word("rentOrBuy", { gpu: each.gpu }), xName: word("months"), xText: whole, yText: usd, log: false, series: [
      { name: word("rentLine"), kind: "b", points: at.map((month) => [month, month * each.rent_usd_per_gpu_month]) },
      { name: word("buyLine"), kind: "c", points: at.map((month) => [month, each.capex_usd_per_gpu + month * each.running_usd_per_gpu_month]) }] }), el("p", { class: "soft", lang: "en" }, each.message));
  });
  const swings = new Map();
  for (const each of fleet.sensitivity) {
    const found = /^(.*) ([-+])20 %$/.exec(each.name);
    if (found && each.usd_per_month !== null) swings.set(found[1], { ...swings.get(found[1]), [found[2] === "-" ? "less" : "more"]: each.usd_per_month });
  }
  if (swings.size) charts.push(tornado({ caption: word("movesBill"), now: fleet.totals.usd_per_month, text: usd, swings: [...swings].map(([name, ends]) => ({ name, ...ends })) }));
  return charts.length > 0 && el("section", {}, el("h2", {}, word("money")), el("div", { class: "grid" }, charts));
}
