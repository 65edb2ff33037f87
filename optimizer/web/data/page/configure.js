// First job: one model, its load and its limits, and the best deployment as one types.
import { Refused, ask, stop } from "./api.js";
import { el } from "./dom.js";
import { copyButton, datalist, field, fillFromChoices, given, numberOf, spoken } from "./fields.js";
import { planParts } from "./plan.js";
import { num, word } from "./words.js";

const START = { model: "Qwen/Qwen3-8B", workload: "chat" };
const IN_FORM = new Set(["model", "workload", "gpu", "owned", "max_gpus", "target_context", "concurrency", "requests_per_s", "input_tokens", "output_tokens", "max_ttft_ms", "max_tpot_ms", "min_output_tokens_per_s", "max_hourly_cost", "min_quality", "quantization", "vllm_version", "objective"]);
const OBJECTIVES = { cost: ["cost", "throughput"], throughput: ["throughput", "cost"], latency: ["latency", "cost"], gpus: ["gpus", "cost"], efficiency: ["efficiency", "cost"], concurrency: ["concurrency", "throughput"] };
const WAIT_MS = 120, REST_MS = 400;

export function configure(main, context) {
  let request = { ...(context.request ?? START) };
  let timer = null, asked = 0;
  const answer = el("div", { class: "answer" });
  const status = spoken();
  const models = datalist(main, "models", []), gpus = datalist(main, "gpus", []);
  const controls = {};
  let presets = [];

  function input(key, attributes = {}) {
    const control = el("input", { name: key, autocomplete: "off", inputmode: "decimal", ...attributes });
    control.addEventListener("input", () => { set(key, attributes.list || attributes.text ? control.value.trim() || undefined : numberOf(control.value.trim())); });
    controls[key] = { show: () => {
      if (document.activeElement !== control) control.value = request[key] ?? "";
      control.placeholder = attributes.placeholder ?? presets.find((each) => each.id === request.workload)?.[key] ?? "";
    } };
    return control;
  }

  function select(key, options, read = (value) => value || undefined, write = (value) => value ?? "") {
    const control = el("select");
    const fill = (list) => { control.replaceChildren(...list.map(([value, text]) => el("option", { value }, text))); control.value = write(request[key]); };
    fill(options);
    control.addEventListener("change", () => set(key, read(control.value)));
    controls[key] = { show: () => { control.value = write(request[key]); }, fill };
    return control;
  }

  // A number with a slider beside it, in steps of a factor.
  function slider(key, label, { low, high, factor, otherwise }) {
    const number = input(key), steps = Math.round(Math.log(high / low) / Math.log(factor));
    const range = el("input", { type: "range", min: 0, max: steps, "aria-label": label });
    const toStep = (value) => Math.round(Math.log(Math.min(high, Math.max(low, value)) / low) / Math.log(factor));
    const exact = (step) => { const raw = low * factor ** step; return factor === 2 ? raw : Math.max(low, Number(raw.toPrecision(2))); };
    range.addEventListener("input", () => { const value = exact(Number(range.value)); number.value = value; set(key, value); });
    const showNumber = controls[key].show;
    controls[key].show = () => {
      showNumber();
      const preset = presets.find((each) => each.id === request.workload);
      const value = typeof request[key] === "number" ? request[key] : preset?.[key] ?? otherwise;
      number.placeholder = value ?? "";
      if (document.activeElement !== range) range.value = value ? toStep(value) : steps;
      range.setAttribute("aria-valuetext", num(exact(Number(range.value))));
    };
    return el("div", {}, field(label, number), range);
  }

  const chips = el("div", { class: "chips" });
  const gpuInput = el("input", { list: gpus.id, autocomplete: "off", placeholder: word("addGpu") });
  const mine = el("input", { type: "checkbox" });
  const perGpu = el("div", { class: "fixes" });
  const listed = () => [request.gpu ?? []].flat();
  function addGpu() {
    const name = gpuInput.value.trim();
    if (!name) return;
    gpuInput.value = "";
    set("gpu", [...new Set([...listed(), name])]);
  }
  gpuInput.addEventListener("change", addGpu);
  gpuInput.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); addGpu(); } });
  const owned = () => (Array.isArray(request.owned) ? Object.fromEntries(request.owned.map((pair) => (Array.isArray(pair) ? pair : String(pair).split("=")))) : request.owned ?? {});
  mine.addEventListener("change", () => set("owned", mine.checked ? Object.fromEntries(listed().map((name) => [name, 8])) : undefined));
  controls.gpu = { show: () => {
    chips.replaceChildren(...listed().map((name) => el("button", { type: "button", "aria-label": `${word("remove")} ${name}`, onclick: () => {
      const rest = listed().filter((each) => each !== name), left = owned();
      delete left[name];
      if (Object.keys(left).length === 0) delete request.owned; else request.owned = left;
      set("gpu", rest.length ? rest : undefined);
    } }, `${name} ×`)));
    mine.disabled = listed().length === 0;
    mine.checked = Object.keys(owned()).length > 0;
    const counts = owned();
    if (!perGpu.contains(document.activeElement)) perGpu.replaceChildren(...Object.keys(counts).map((name) => {
      const control = el("input", { inputmode: "numeric", value: counts[name] });
      control.addEventListener("input", () => set("owned", { ...owned(), [name]: numberOf(control.value.trim()) ?? 1 }));
      return field(name, control);
    }));
  } };
  const rate = el("div");
  const extras = el("div", { class: "chips" });

  const form = el("form", { class: "side", "aria-label": word("configure"), onsubmit: (event) => event.preventDefault() },
    field(word("model"), input("model", { list: models.id, inputmode: "search" })),
    field(word("workload"), select("workload", [["", word("noWorkload")], ["chat", "chat"]])),
    el("fieldset", {}, el("legend", {}, word("gpus")), chips, el("label", {}, el("span", {}, word("anyGpu")), gpuInput),
      el("label", { class: "check" }, mine, word("mine")), perGpu, field(word("mostGpus"), input("max_gpus", { placeholder: 16 }))),
    el("fieldset", {}, el("legend", {}, word("load")),
      slider("concurrency", word("users"), { low: 1, high: 4096, factor: 2 ** 0.5, otherwise: 32 }), rate,
      slider("target_context", word("context"), { low: 1024, high: 1048576, factor: 2, otherwise: 8192 }),
      el("div", { class: "pair" }, field(word("input"), input("input_tokens")), field(word("output"), input("output_tokens")))),
    el("fieldset", {}, el("legend", {}, word("limits")),
      slider("max_ttft_ms", word("ttftMax"), { low: 100, high: 60000, factor: 1.25, otherwise: null }),
      slider("max_tpot_ms", word("tpotMax"), { low: 5, high: 500, factor: 1.2, otherwise: null }),
      slider("max_hourly_cost", word("budget"), { low: 0.2, high: 500, factor: 1.25, otherwise: null })),
    el("details", {}, el("summary", {}, word("more")), el("fieldset", {},
      field(word("objective"), select("objective", Object.keys(OBJECTIVES).map((name) => [name, word(`o_${name}`)]), (value) => (value === "cost" ? undefined : OBJECTIVES[value]), (value) => value?.[0] ?? "cost")),
      field(word("weights"), select("quantization", [["", word("any")]], (value) => (value ? [value] : undefined), (value) => [value].flat()[0] ?? "")),
      field(word("quality"), input("min_quality", { placeholder: 0.98 })), field(word("perUser"), input("min_output_tokens_per_s")),
      field(word("release"), select("vllm_version", [["", word("newest")]])))),
    extras,
    el("div", { class: "row" }, copyButton(() => location.href),
      el("button", { type: "button", onclick: () => { request = { ...START }; changed(); } }, word("reset"))));
  form.querySelector(".row button").textContent = word("link");

  function set(key, value) {
    if (value === undefined) delete request[key]; else request[key] = value;
    if (key === "workload") for (const each of ["input_tokens", "output_tokens", "target_context", "concurrency", "max_ttft_ms", "max_tpot_ms"]) delete request[each];
    if (key === "requests_per_s" && value !== undefined) delete request.concurrency;
    if (key === "concurrency" && value !== undefined) delete request.requests_per_s;
    changed();
  }

  function showForm() {
    for (const control of Object.values(controls)) control.show();
    const others = Object.keys(request).filter((key) => !IN_FORM.has(key));
    extras.replaceChildren(others.length ? el("span", { class: "soft" }, word("alsoSet")) : "", ...others.map((key) => el("button", { type: "button", "aria-label": `${word("remove")} ${key}`, onclick: () => set(key, undefined) }, `${key} = ${JSON.stringify(request[key])} ×`)));
  }

  function changed() {
    showForm();
    context.link(request);
    clearTimeout(timer);
    timer = setTimeout(solve, WAIT_MS);
  }

  function apply(changes) {
    Object.assign(request, changes);
    for (const [key, value] of Object.entries(changes)) if (value === null) delete request[key];
    changed();
  }

  async function solve() {
    const number = (asked += 1);
    answer.classList.add("busy");
    answer.setAttribute("aria-busy", "true");
    if (!answer.childElementCount) answer.append(el("section", { class: "lead" }, el("p", { class: "big" }, word("thinking"))));
    try {
      const body = given(request);
      stop("alternatives");
      stop("curves");
      const found = await ask("solve", body, { query: "?alternatives=none" });
      if (number !== asked) return;
      answer.replaceChildren(...planParts(found, body, { apply, later: (wanted) => setTimeout(() => { if (number === asked) wanted(); }, REST_MS) }));
      status.say(answer);
    } catch (error) {
      if (error.name === "AbortError" || number !== asked) return;
      const sentence = error instanceof Refused ? error.message : String(error.message ?? error);
      answer.replaceChildren(el("section", { class: "lead bad", lang: "en" }, el("p", { class: "big" }, sentence)));
      status.say(answer);
    } finally {
      if (number === asked) { answer.classList.remove("busy"); answer.removeAttribute("aria-busy"); }
    }
  }

  const folded = el("details", { class: "request" }, el("summary", {}, word("theRequest")), form);
  folded.open = !matchMedia("(max-width: 860px)").matches;
  main.append(el("div", { class: "two" }, folded, el("div", {}, status.node, answer)));
  fillFromChoices(main, context, (found) => {
    presets = found.workloads;
    models.replaceChildren(...found.models.map((value) => el("option", { value })));
    gpus.replaceChildren(...found.gpus.map((gpu) => el("option", { value: gpu.id }, gpu.name)));
    controls.workload.fill([["", word("noWorkload")], ...found.workloads.map((each) => [each.id, each.id])]);
    controls.quantization.fill([["", word("any")], ...found.quantizations.map((each) => [each, each])]);
    controls.vllm_version.fill([["", word("newest")], ...found.engines.map((each) => [each, each])]);
    if (found.solve_fields.includes("requests_per_s") && !rate.childElementCount) rate.append(field(word("rate"), input("requests_per_s")));
    showForm();
  });
  showForm();
  solve();
}
