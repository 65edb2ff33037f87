// One answer of `solve`, from the sentence that one repeats to the proof.
import { ask, download } from "./api.js";
import { bar, gauge, lines, scatter } from "./charts.js";
import { el, table } from "./dom.js";
import { copyButton, sentences } from "./fields.js";
import { contextText, gib, ms, num, percent, usd, whole, word } from "./words.js";

const FORMATS = ["zip", "command", "compose", "kubernetes", "env", "yaml", "json", "html"];

export function planParts(answer, body, { apply }) {
  return (answer.plan ? chosen(answer, body) : none(answer, body, apply)).filter(Boolean);
}

const money = (plan) => (plan.cost ? `${usd(plan.cost.usd_per_hour)} ${word("perHour")}` : word("noPrice"));
const gpusOf = (plan) => `${plan.gpu_count} × ${plan.gpu}`;

function shape(plan) {
  const parts = [["TP", plan.tensor_parallel_size], ["PP", plan.pipeline_parallel_size], ["DP", plan.data_parallel_size]].filter(([, size]) => size > 1).map(([name, size]) => `${name} ${size}`);
  if (plan.replicas > 1) parts.push(`${plan.replicas} ${word("replicas")}`);
  return parts.join(" · ");
}

function chosen(answer, body) {
  const { plan } = answer, speed = plan.performance, asked = answer.request, inputs = speed.tpot_ms === null;
  const between = (figure, text) => speed.interval[figure] && `${text(speed.interval[figure][0])} – ${text(speed.interval[figure][1])}`;
  const fact = (name, value, small) => el("div", {}, el("dt", {}, name), el("dd", {}, value, small && el("small", {}, small)));
  return [
    el("section", { class: answer.status === "optimal" ? "lead" : "lead warn" },
      el("p", { class: "big" }, `${gpusOf(plan)}, ${money(plan)}`),
      el("p", {}, `${plan.checkpoint ?? plan.model} · ${word(answer.status)}${shape(plan) ? ` · ${shape(plan)}` : ""}`),
      el("dl", { class: "facts" },
        fact(word(inputs ? "inputsPerS" : "throughput"), num(speed.output_tokens_per_s, { maximumSignificantDigits: 3 }), between("output_tokens_per_s", (v) => num(v, { maximumSignificantDigits: 3 }))),
        fact(word("ttft"), ms(speed.ttft_ms), between("ttft_ms", ms)), inputs ? "" : fact(word("tpot"), ms(speed.tpot_ms), between("tpot_ms", ms)),
        fact(word("cost"), plan.cost ? usd(plan.cost.usd_per_hour) : "–", plan.cost?.usd_per_million_output_tokens ? `${usd(plan.cost.usd_per_million_output_tokens)} ${word(inputs ? "perMillionInputs" : "perMillion")}` : plan.cost?.provider),
        fact(word("weightsKv"), `${plan.quantization} / ${plan.kv_cache_dtype}`, plan.quality?.recovery ? `${percent(plan.quality.recovery)} ${word("kept")}` : null),
        fact(word("fullSequences"), num(plan.memory.running_concurrency || plan.memory.max_concurrency, { maximumFractionDigits: 1, maximumSignificantDigits: undefined })))),
    el("section", {}, el("h2", {}, word("command")), el("pre", { id: "command" }, `${Object.entries(plan.env).map(([key, value]) => `${key}=${value} `).join("")}${plan.command}`),
      el("div", { class: "row" }, copyButton(() => document.getElementById("command").textContent)),
      plan.replicas > 1 && el("p", { class: "care" }, word("startEach", { n: plan.replicas })),
      el("details", {}, el("summary", {}, word("flags")), table([{ text: word("flags") }, { text: word("value") }], Object.entries(plan.flags).map(([key, value]) => [`--${key}`, String(value)])))),
    el("div", { class: "grid" },
      el("section", { class: "card" }, el("h2", {}, word("memory")), memoryBar(plan)),
      el("section", { class: "card" }, el("h2", {}, word("limitsAndPredictions")),
        gauge({ name: word("ttft"), value: speed.ttft_ms, interval: speed.interval.ttft_ms, limit: asked.max_ttft_ms, text: ms }),
        speed.tpot_ms !== null && gauge({ name: word("tpot"), value: speed.tpot_ms, interval: speed.interval.tpot_ms, limit: asked.max_tpot_ms, text: ms }),
        gauge({ name: word(inputs ? "inputsPerS" : "throughput"), value: speed.output_tokens_per_s, interval: speed.interval.output_tokens_per_s, text: num, higherIsBetter: true }),
        asked.max_hourly_cost && plan.cost && gauge({ name: word("cost"), value: plan.cost.usd_per_hour, limit: asked.max_hourly_cost, text: usd }),
        el("p", { class: "soft" }, word("intervalNote")), speed.basis_note && el("p", { class: "soft", lang: "en" }, speed.basis_note))),
    el("section", {}, el("h2", {}, word("downloads")), downloadButtons("solve", body, FORMATS)),
    answer.close_calls.length > 0 && el("section", {}, el("h2", {}, word("closeCalls")),
      el("ul", { class: "plain" }, answer.close_calls.map((call) => el("li", {}, el("b", {}, word(`w_${call.why}`)), `: ${gpusOf(call.plan)}, ${money(call.plan)}, ${num(call.plan.performance.output_tokens_per_s, { maximumSignificantDigits: 3 })} token/s, TTFT ${ms(call.plan.performance.ttft_ms)}`)))),
    bySku(answer),
    curvesOf(plan, asked),
    el("section", {}, el("details", {}, el("summary", {}, word("proof")),
      table([{ text: word("objective") }, { text: word("value"), n: true }, { text: word("bound"), n: true }, { text: "gap", n: true }, { text: "" }], answer.objectives.map((each) => [each.name, num(each.value), num(each.bound), percent(each.gap), each.unit])),
      el("p", {}, word("searched", { n: whole(answer.solver.layouts_considered) })))),
    sentences(word("binds"), plan.binding.map((each) => `${each.rule}: ${each.message}`)),
    sentences(word("notes"), [...new Set([...answer.notes, ...plan.notes])]),
    sentences(word("assumed"), (asked.assumed ?? []).map((each) => `${each.field} = ${each.value}: ${each.why}`)),
  ];
}

export function memoryBar(plan) {
  const m = plan.memory, graphs = m.cuda_graph_in_budget ? m.cuda_graph_bytes : 0;
  const weights = m.weights_bytes + m.weights_extra_bytes + m.draft_bytes + m.lora_bytes;
  const activation = Math.max(m.activation_peak_bytes, m.encoder_peak_bytes), other = m.non_torch_bytes + graphs;
  return bar({ label: word("memory"), text: gib, whole: m.gpu_total_bytes, line: m.budget_bytes, parts: [
    { name: word("m_weights"), value: weights, kind: "b" }, { name: word("m_activation"), value: activation, kind: "c" },
    { name: word("m_other"), value: other, kind: "d" }, { name: word("m_kv"), value: m.kv_cache_bytes, kind: "a" },
    { name: word("m_free"), value: Math.max(0, m.gpu_total_bytes - weights - activation - other - m.kv_cache_bytes), kind: "f" }] });
}

function bySku(answer) {
  const plans = [answer.plan, ...answer.alternatives];
  if (plans.length < 2) return null;
  const rows = plans.map((plan) => [
    { text: plan === answer.plan ? `${plan.gpu} (${word("chosen")})` : plan.gpu, by: plan.gpu }, plan.gpu_count, { text: plan.cost ? usd(plan.cost.usd_per_hour) : "–", by: plan.cost?.usd_per_hour },
    { text: num(plan.performance.output_tokens_per_s, { maximumSignificantDigits: 3 }), by: plan.performance.output_tokens_per_s },
    { text: ms(plan.performance.ttft_ms), by: plan.performance.ttft_ms }, { text: ms(plan.performance.tpot_ms), by: plan.performance.tpot_ms },
    `${plan.quantization} / ${plan.kv_cache_dtype}`, plan.performance.basis]);
  const priced = plans.filter((plan) => plan.cost);
  return el("div", { class: "answer" },
    el("section", {}, el("h2", {}, word("perSku")), table(
      [{ text: "SKU" }, { text: word("count"), n: true }, { text: word("cost"), n: true }, { text: word("throughput"), n: true }, { text: word("ttft"), n: true }, { text: word("tpot"), n: true }, { text: word("format") }, { text: word("source") }],
      rows, { sortable: true, caption: word("perSku"), chosen: 0, tall: true })),
    priced.length > 1 && el("section", {}, el("h2", {}, word("front")), scatter({
      caption: word("frontHint"), xName: word("usdPerHour"), yName: word("throughput"), xText: usd,
      points: within(priced).map((plan) => ({ x: plan.cost.usd_per_hour, y: plan.performance.output_tokens_per_s, name: plan.gpu, chosen: plan === answer.plan })) })));
}

// Far dearer plans would press all others into a corner: the table has them.
function within(plans) {
  const costs = plans.map((plan) => plan.cost.usd_per_hour).sort((a, b) => a - b);
  const most = Math.max(8 * plans[0].cost.usd_per_hour, costs[Math.floor(costs.length * 0.75)] * 1.5);
  return plans.filter((plan) => plan.cost.usd_per_hour <= most);
}

function curvesOf(plan, asked) {
  const holder = el("section", { "aria-busy": "true" }, el("h2", {}, word("loadCurves")), el("p", { class: "soft" }, word("asking")));
  const users = plan.performance.load.users || plan.performance.concurrency;
  const body = { command: plan.command, gpu: plan.gpu, replicas: plan.replicas, users, vllm_version: plan.vllm_version, confidence: asked.confidence, prefix_hit_share: asked.prefix_hit_share, calibration: asked.calibration };
  for (const key of ["input_tokens", "output_tokens"]) if (asked[key]) body[key] = asked[key];
  ask("curves", body).then((found) => {
    const points = (figure) => found.load.filter((p) => p[figure] !== null).map((p) => [p.users, p[figure], ...(p.interval[figure] ?? [])]);
    const limit = (value) => (value ? [{ y: value, text: `${word("limit")} ${ms(value)}` }] : []);
    const common = { xName: word("users"), mark: users, xText: whole };
    const near = (list, value) => (value ? list.filter((p) => p[1] <= 6 * value || p[0] <= users) : list);
    const charts = [lines({ ...common, caption: word("throughputOverLoad"), series: [{ name: word("throughput"), kind: "a", points: points("output_tokens_per_s") }] }),
      lines({ ...common, caption: word("ttftOverLoad"), yText: ms, limits: limit(asked.max_ttft_ms), series: [{ name: word("ttft"), kind: "b", points: near(points("ttft_ms"), asked.max_ttft_ms) }] })];
    if (points("tpot_ms").length > 1) charts.push(lines({ ...common, caption: word("tpotOverLoad"), yText: ms, limits: limit(asked.max_tpot_ms), series: [{ name: word("tpot"), kind: "c", points: near(points("tpot_ms"), asked.max_tpot_ms) }] }));
    if (found.context.length > 1) charts.push(lines({ caption: word("memoryOverContext"), xName: word("context"), xText: contextText, yText: (v) => num(v, { maximumSignificantDigits: 3 }), mark: plan.flags["max-model-len"],
      series: [{ name: word("sequences"), kind: "a", points: found.context.map((p) => [p.max_model_len, p.running_concurrency]) }] }));
    holder.replaceChildren(el("h2", {}, word("loadCurves")), el("div", { class: "grid" }, charts));
  }).catch((error) => { if (error.name !== "AbortError") holder.replaceChildren(el("p", { class: "soft", lang: "en" }, error.message)); })
    .finally(() => holder.removeAttribute("aria-busy"));
  return holder;
}

export function downloadButtons(verb, body, formats) {
  const said = el("p", { class: "no", role: "alert" });
  return el("div", {}, el("div", { class: "row" }, formats.map((format) => {
    const button = el("button", { type: "button", "data-format": format }, format === "zip" ? word("d_zip") : format);
    button.addEventListener("click", async () => {
      button.disabled = true;
      said.textContent = "";
      try { await download(verb, body, format); } catch (error) { said.textContent = error.message; } finally { button.disabled = false; }
    });
    return button;
  })), said);
}

export function explanationParts(explanation, apply = null) {
  if (!explanation) return [];
  const many = explanation.relaxations;
  return [
    el("section", {}, el("h2", {}, word("whyNot")), el("ul", { class: "plain", lang: "en" }, explanation.conflict.map((each) => el("li", {}, el("b", {}, each.rule), `: ${each.message}`)))),
    el("section", {}, el("h2", {}, apply ? word("wouldHelp") : word("notes")), many.length ? el("div", { class: "fixes", lang: "en" }, many.map((each) => (apply
      ? el("button", { type: "button", "data-change": each.change, onclick: () => apply({ [each.change]: each.to, ...each.also }) }, each.message) : el("p", {}, each.message)))) : el("p", {}, word("nothingHelps"))),
    explanation.per_gpu?.length > 0 && el("section", {}, el("ul", { class: "plain", lang: "en" }, explanation.per_gpu.map((each) => el("li", {}, each)))),
  ];
}

function none(answer, body, apply) {
  return [
    el("section", { class: answer.status === "infeasible" ? "lead bad" : "lead warn" }, el("p", { class: "big" }, word(answer.status))),
    ...explanationParts(answer.explanation, apply),
    sentences(word("notes"), answer.notes),
    el("section", {}, el("h2", {}, word("downloads")), downloadButtons("solve", body, ["json", "html", "table"])),
  ];
}
