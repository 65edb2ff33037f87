// Third job: the nodes that are owned, what they should serve, and what runs where.
import { ask } from "./api.js";
import { bar } from "./charts.js";
import { el, table } from "./dom.js";
import { copyButton, datalist, downloadButtons, editable, fillFromChoices, given, numberOf, sentences, spoken } from "./fields.js";
import { explanationParts } from "./plan.js";
import { gib, percent, word } from "./words.js";

const START = { nodes: [{ name: "big", gpu: "h100", gpus: 8, count: 1 }, { name: "small", gpu: "l40s", gpus: 4, count: 1 }], services: [{ name: "assistant", model: "Qwen/Qwen3-32B", workload: "chat", requests_per_s: 4, replicas: { least: 2 } }, { name: "search", model: "Qwen/Qwen3-8B", workload: "rag", requests_per_s: 2 }] };
const KINDS = ["a", "b", "c", "d", "e"];

export function place(main, context) {
  const request = structuredClone(context.request ?? START);
  const nodes = request.nodes?.length ? request.nodes : [{}];
  const services = (request.services?.length ? request.services : [{}]).map((row) => ({ ...row, least: row.replicas?.least ?? row.least ?? "", model: [row.model].flat().join(", ") }));
  const models = datalist(main, "models", []), gpus = datalist(main, "gpus", []);
  let presets = ["chat", "rag"];
  const survive = el("input", { type: "checkbox" });
  survive.checked = request.survive === "node";
  const filled = (row) => Object.values(row).some((value) => value !== "" && value !== undefined);
  const asked = () => given({ ...request, survive: survive.checked ? "node" : undefined,
    nodes: nodes.filter(filled).map((row) => given({ ...row, gpus: numberOf(row.gpus), count: numberOf(row.count) })),
    services: services.filter(filled).map(({ least, ...row }) => given({ ...row, model: String(row.model ?? "").split(/,\s*/), requests_per_s: numberOf(row.requests_per_s), concurrency: numberOf(row.concurrency), target_context: numberOf(row.target_context), max_ttft_ms: numberOf(row.max_ttft_ms), priority: numberOf(row.priority), replicas: numberOf(least) === undefined ? undefined : { ...row.replicas, least: numberOf(least) } })) });
  const link = () => context.link(asked());
  survive.addEventListener("change", link);
  const nodeSheet = editable([{ key: "name", text: word("name") }, { key: "gpu", text: "SKU", list: () => gpus.id }, { key: "gpus", text: word("perNode"), number: true }, { key: "count", text: word("howMany"), number: true }, { key: "zone", text: "zone" }], nodes, link);
  const serviceSheet = editable([{ key: "name", text: word("name") }, { key: "model", text: word("model"), list: () => models.id }, { key: "workload", text: word("preset"), options: () => presets }, { key: "requests_per_s", text: word("requests"), number: true }, { key: "concurrency", text: word("users"), number: true }, { key: "target_context", text: word("contextShort"), number: true }, { key: "max_ttft_ms", text: word("ttftMax"), number: true }, { key: "least", text: word("least"), number: true }, { key: "priority", text: word("priority"), number: true }], services, link);
  const answer = el("div", { class: "answer" }), status = spoken();
  const go = el("button", { class: "main", type: "submit" }, word("solvePlace"));
  const share = copyButton(() => location.href);
  share.textContent = word("link");

  async function solve(event) {
    event?.preventDefault();
    const body = asked();
    link();
    go.disabled = true;
    answer.replaceChildren(el("section", { class: "lead" }, el("p", { class: "big" }, word("thinking"))));
    try { answer.replaceChildren(...placementParts(await ask("place", body), body).filter(Boolean)); }
    catch (error) { if (error.name !== "AbortError") answer.replaceChildren(el("section", { class: "lead bad", lang: "en" }, el("p", { class: "big" }, error.message))); }
    finally { go.disabled = false; status.say(answer); }
  }

  main.append(el("form", { class: "answer", onsubmit: solve }, el("section", {}, el("p", { class: "soft" }, word("pasteHint")), el("h2", {}, word("nodes")), nodeSheet.node, el("h2", {}, word("services")), serviceSheet.node,
    el("label", { class: "check row" }, survive, word("survive")), el("div", { class: "row" }, go, share)), status.node, answer));
  fillFromChoices(main, context, (found) => {
    models.replaceChildren(...found.models.map((value) => el("option", { value })));
    gpus.replaceChildren(...found.gpus.map((each) => el("option", { value: each.id })));
    presets = found.workloads.map((each) => each.id);
    serviceSheet.draw();
    if (!found.verbs.includes("place")) { go.disabled = true; answer.replaceChildren(el("section", { class: "lead warn" }, el("p", {}, word("noPlace")))); }
    else if (context.request) solve();
  });
}

function placementParts(found, body) {
  const names = [...new Set(found.servers.map((each) => each.service))];
  const kind = (service) => KINDS[names.indexOf(service) % KINDS.length];
  return [
    el("section", { class: found.status === "optimal" ? "lead" : found.status === "infeasible" ? "lead bad" : "lead warn" }, el("p", { class: "big" }, word("placed", { n: found.servers.length, how: word(found.status) }))),
    found.nodes.length > 0 && el("section", {}, el("h2", {}, word("nodes")), el("div", { class: "nodes" }, found.nodes.map((node) => el("div", { class: "node" }, el("h3", {}, node.name),
      el("div", { class: "gpus" }, node.gpus.map((gpu) => gpuBox(node, gpu, kind))))))),
    found.services?.length > 0 && el("section", {}, el("h2", {}, word("services")), table([{ text: word("name") }, { text: word("replicas"), n: true }, { text: word("capacity"), n: true }, { text: "%", n: true }],
      found.services.map((each) => [each.service, each.replicas, `${each.demand.toPrecision(3)} / ${each.capacity.toPrecision(3)} ${each.unit}`, { text: percent(each.served), by: each.served }]), { caption: word("services") })),
    found.unplaced.length > 0 && el("section", {}, el("h2", {}, word("unplaced")), found.unplaced.map((each) => [el("h3", {}, `${each.service}: ${each.replicas}`), ...explanationParts(each.explanation).filter(Boolean)])),
    found.moves.length > 0 && sentences(word("moves"), found.moves.map((each) => `${each.step}. ${each.action} ${each.service}: ${each.parts.map((part) => `${part.node} GPU ${part.gpus.join(", ")}`).join("; ")}${each.why ? ` (${each.why})` : ""}`)),
    el("section", {}, el("h2", {}, word("downloads")), downloadButtons("place", body, found.servers.length ? ["zip", "html", "table", "yaml", "json"] : ["html", "table", "yaml", "json"])),
    sentences(word("notes"), found.notes ?? []),
  ];
}

// One GPU: a bar of what is on it, and a line for each server.
function gpuBox(node, gpu, kind) {
  const parts = gpu.servers.map((each) => ({ name: `${each.service}/${each.replica}`, value: each.sleeps ? each.asleep_bytes : each.bytes, kind: kind(each.service) }));
  const waking = gpu.memory_bytes - gpu.free_bytes - parts.reduce((sum, part) => sum + part.value, 0);
  if (waking > 0) parts.push({ name: word("waking"), value: waking, kind: "f" });
  return el("div", { class: "gpu" }, el("span", { class: "soft" }, `${gpu.gpu} ${gpu.shown || gpu.index}`),
    bar({ label: `${node.name} ${gpu.gpu} ${gpu.shown || gpu.index}`, whole: gpu.memory_bytes, text: gib, parts: [...parts, { name: word("free"), value: gpu.free_bytes, kind: "f" }], keyed: parts.length ? parts : null }),
    parts.length === 0 && el("span", { class: "soft" }, `${word("free")} ${gib(gpu.free_bytes)}`));
}
