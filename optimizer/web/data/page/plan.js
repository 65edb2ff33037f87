// One answer of `solve`, from the sentence that one repeats to the proof.
import { ask } from "./api.js";
import { gauge, lines } from "./charts.js";
import { el, table } from "./dom.js";
import { copyButton, downloadButtons, sentences } from "./fields.js";
import { memoryBar, memoryOverContext } from "./memory.js";
import { bySku, front, gpusOf, money, whatIf } from "./others.js";
import { axisMs, contextText, ms, num, percent, usd, whole, word } from "./words.js";

const FORMATS = ["zip", "html", "command", "compose", "kubernetes", "env", "yaml", "json", "table"];

export function planParts(answer, body, { apply, later }) {
  return (answer.plan ? chosen(answer, body, apply, later) : none(answer, body, apply)).filter(Boolean);
}

function shape(plan) {
  const parts = [["TP", plan.tensor_parallel_size], ["PP", plan.pipeline_parallel_size], ["DP", plan.data_parallel_size]].filter(([, size]) => size > 1).map(([name, size]) => `${name} ${size}`);
  if (plan.replicas > 1) parts.push(`${plan.replicas} ${word("replicas")}`);
  return parts.join(" · ");
}

function chosen(answer, body, apply, later) {
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
    bySku(body, plan, later),
    curvesOf(plan, asked, later),
    front(body, plan),
    whatIf(answer, body, apply),
    el("section", {}, el("details", {}, el("summary", {}, word("proof")),
      table([{ text: word("objective") }, { text: word("value"), n: true }, { text: word("bound"), n: true }, { text: "gap", n: true }, { text: "" }], answer.objectives.map((each) => [each.name, num(each.value), num(each.bound), percent(each.gap), each.unit])),
      el("p", {}, word("searched", { n: whole(answer.solver.layouts_considered) })))),
    sentences(word("binds"), plan.binding.map((each) => `${each.rule}: ${each.message}`)),
    sentences(word("notes"), [...new Set([...answer.notes, ...plan.notes])]),
    sentences(word("assumed"), (asked.assumed ?? []).map((each) => `${each.field} = ${each.value}: ${each.why}`)),
  ];
}

function curvesOf(plan, asked, later) {
  const holder = el("section", { "aria-busy": "true" }, el("h2", {}, word("loadCurves")), el("p", { class: "soft" }, word("asking")));
  const users = plan.performance.load.users || plan.performance.concurrency;
  const body = { command: plan.command, gpu: plan.gpu, replicas: plan.replicas, users, vllm_version: plan.vllm_version, confidence: asked.confidence, prefix_hit_share: asked.prefix_hit_share, calibration: asked.calibration };
  for (const key of ["input_tokens", "output_tokens"]) if (asked[key]) body[key] = asked[key];
  new Promise((resolve, reject) => later(() => ask("curves", body).then(resolve, reject))).then((found) => {
    const points = (figure) => found.load.filter((p) => p[figure] !== null).map((p) => [p.users, p[figure], ...(p.interval[figure] ?? [])]);
    const limit = (value) => (value ? [{ y: value, text: `${word("limit")} ${ms(value)}` }] : []);
    const common = { xName: word("users"), mark: users, xText: whole };
    const near = (list, value) => (value ? list.filter((p) => p[1] <= 6 * value || p[0] <= users) : list);
    const charts = [lines({ ...common, caption: word("throughputOverLoad"), series: [{ name: word("throughput"), kind: "a", points: points("output_tokens_per_s") }] }),
      lines({ ...common, caption: word("ttftOverLoad"), yText: ms, tickText: axisMs, limits: limit(asked.max_ttft_ms), series: [{ name: word("ttft"), kind: "b", points: near(points("ttft_ms"), asked.max_ttft_ms) }] })];
    if (points("tpot_ms").length > 1) charts.push(lines({ ...common, caption: word("tpotOverLoad"), yText: ms, tickText: axisMs, limits: limit(asked.max_tpot_ms), series: [{ name: word("tpot"), kind: "c", points: near(points("tpot_ms"), asked.max_tpot_ms) }] }));
    charts.push(memoryOverContext(plan, found.context, users));
    if (found.context.length > 1) charts.push(lines({ caption: word("contextsHeld"), xName: word("context"), xText: contextText, yText: (v) => num(v, { maximumSignificantDigits: 3 }), mark: plan.flags["max-model-len"],
      series: [{ name: word("sequences"), kind: "a", points: found.context.map((p) => [p.max_model_len, p.running_concurrency]) }] }));
    holder.replaceChildren(el("h2", {}, word("loadCurves")), el("div", { class: "grid" }, charts.filter(Boolean)));
  }).catch((error) => { if (error.name !== "AbortError") holder.replaceChildren(el("p", { class: "soft", lang: "en" }, error.message)); })
    .finally(() => holder.removeAttribute("aria-busy"));
  return holder;
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
