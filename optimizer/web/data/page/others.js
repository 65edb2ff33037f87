// What else there is: the best plan on each SKU, the whole front, and the same request with one thing changed.
import { ask } from "./api.js";
import { scatter } from "./charts.js";
import { el, table } from "./dom.js";
import { downloadButtons } from "./fields.js";
import { ms, num, usd, word } from "./words.js";

const three = (value) => num(value, { maximumSignificantDigits: 3 });
export const money = (plan) => (plan.cost?.billing === "owned" ? word("isOwned") : plan.cost ? `${usd(plan.cost.usd_per_hour)} ${word("perHour")}` : word("noPrice"));
export const gpusOf = (plan) => `${plan.gpu_count} × ${plan.gpu}`;
const FIGURES = [{ text: "count", n: true }, { text: "cost", n: true }, { text: "throughput", n: true }, { text: "ttft", n: true }, { text: "tpot", n: true }, { text: "format" }, { text: "basis" }];
const headings = (first) => [{ text: first }, ...FIGURES.map((each) => ({ ...each, text: word(each.text) }))];
const figures = (plan) => [plan.gpu_count, { text: plan.cost ? usd(plan.cost.usd_per_hour) : "–", by: plan.cost?.usd_per_hour },
  { text: three(plan.performance.output_tokens_per_s), by: plan.performance.output_tokens_per_s },
  { text: ms(plan.performance.ttft_ms), by: plan.performance.ttft_ms }, { text: ms(plan.performance.tpot_ms), by: plan.performance.tpot_ms },
  `${plan.quantization} / ${plan.kv_cache_dtype}`, word(`by_${plan.performance.basis}`)];

// A section that is empty until what it shows has come; what goes wrong is said in it.
function waiting(name, promise, fill) {
  const holder = el("section", { "aria-busy": "true" }, el("h2", {}, word(name)), el("p", { class: "soft" }, word("asking")));
  promise.then((found) => { const parts = fill(found); if (parts) holder.replaceChildren(...parts); else holder.remove(); })
    .catch((error) => { if (error.name !== "AbortError") holder.replaceChildren(el("h2", {}, word(name)), el("p", { class: "soft", lang: "en" }, error.message)); })
    .finally(() => holder.removeAttribute("aria-busy"));
  return holder;
}

export function bySku(body, plan, later) {
  const answer = new Promise((resolve, reject) => later(() => ask("solve", body, { kind: "alternatives" }).then(resolve, reject)));
  return waiting("perSku", answer, (found) => {
    const plans = [found.plan ?? plan, ...found.alternatives], priced = plans.filter((each) => each.cost);
    if (plans.length < 2) return null;
    const rows = plans.map((each, index) => [{ text: index ? each.gpu : `${each.gpu} (${word("chosen")})`, by: each.gpu }, ...figures(each)]);
    return [el("h2", {}, word("perSku")), table(headings("SKU"), rows, { sortable: true, caption: word("perSku"), chosen: 0, tall: true }),
      priced.length > 1 && el("h3", {}, word("costAndThroughput")),
      priced.length > 1 && drawn(within(priced), plans[0], (each) => each.gpu)].filter(Boolean);
  });
}

function drawn(plans, chosen, name) {
  return scatter({ caption: word("frontHint"), xName: word("usdPerHour"), yName: word("throughput"), xText: usd,
    points: plans.map((each) => ({ x: each.cost.usd_per_hour, y: each.performance.output_tokens_per_s, name: name(each), chosen: each === chosen })) });
}

// Far dearer plans would press all others into a corner: the table has them.
function within(plans) {
  const costs = plans.map((plan) => plan.cost.usd_per_hour).sort((a, b) => a - b);
  const most = Math.max(8 * plans[0].cost.usd_per_hour, costs[Math.floor(costs.length * 0.75)] * 1.5);
  return plans.filter((plan) => plan.cost.usd_per_hour <= most);
}

// The proven front takes seconds, so it is asked for.
export function front(body, plan) {
  const section = el("section", {}, el("h2", {}, word("front")), el("p", { class: "soft" }, word("frontWhat")));
  const button = el("button", { type: "button", class: "ask-front" }, word("frontAsk"));
  button.addEventListener("click", async () => {
    const started = performance.now(), said = el("p", { class: "soft", role: "status" }, word("thinking"));
    const clock = setInterval(() => { said.textContent = `${word("thinking")} ${Math.round((performance.now() - started) / 1000)} s`; }, 1000);
    button.replaceWith(said);
    try {
      const found = await ask("solve", { ...body, pareto: true }, { kind: "front" });
      const same = (each) => each.command === plan.command && each.gpu === plan.gpu && each.replicas === plan.replicas;
      const others = found.pareto.filter((each) => !same(each)), all = plan.cost ? [plan, ...others] : others, priced = all.filter((each) => each.cost);
      said.replaceWith(priced.length > 1 ? drawn(priced, plan, gpusOf) : "", table(headings("SKU"), all.map((each) => [{ text: each === plan ? `${gpusOf(each)} (${word("chosen")})` : gpusOf(each), by: each.gpu }, ...figures(each)]),
        { sortable: true, caption: word("front"), chosen: all.indexOf(plan), tall: true }), el("ul", { class: "plain", lang: "en" }, found.notes.map((each) => el("li", {}, each))), downloadButtons("solve", { ...body, pareto: true }, ["html", "command", "yaml", "json", "table"]));
    } catch (error) { said.replaceWith(el("p", { class: "no", lang: "en" }, error.message), button); } finally { clearInterval(clock); }
  });
  section.append(button);
  return section;
}

// One thing changed at a time: each is solved when pressed, stands beside the plan, and can be taken.
export function whatIf(answer, body, apply) {
  const { plan, request } = answer, rows = [], holder = el("div"), wished = el("div", { class: "fixes" });
  const show = () => holder.replaceChildren(table([...headings(word("change")), { text: "" }], [[word("asAsked"), ...figures(plan), ""], ...rows], { caption: word("whatIf"), chosen: 0 }));
  const variants = [
    typeof request.concurrency === "number" && body.requests_per_s === undefined && { key: "concurrency", to: 2 * request.concurrency, name: word("users") },
    typeof request.concurrency === "number" && body.requests_per_s === undefined && request.concurrency > 1 && { key: "concurrency", to: Math.ceil(request.concurrency / 2), name: word("users") },
    typeof body.requests_per_s === "number" && { key: "requests_per_s", to: 2 * body.requests_per_s, name: word("requests") },
    request.target_context && { key: "target_context", to: 2 * request.target_context, name: word("contextShort") },
    request.max_ttft_ms && { key: "max_ttft_ms", to: Math.round(request.max_ttft_ms / 2), name: word("ttftMax") },
    request.max_tpot_ms && { key: "max_tpot_ms", to: Math.round(request.max_tpot_ms / 2), name: word("tpotMax") },
    plan.cost && { key: "max_hourly_cost", to: Number((plan.cost.usd_per_hour * 0.8).toFixed(2)), name: word("budget") },
    { key: "quantization", to: ["bf16"], name: word("weights") },
    body.gpu !== undefined && body.owned === undefined && { key: "gpu", to: null, name: word("gpus") },
  ].filter(Boolean);
  const changed = ({ key, to }) => { const fields = { ...body, [key]: to }; if (to === null) delete fields[key]; return fields; };
  const words = ({ name, to }) => `${name}: ${to === null ? word("any") : typeof to === "number" ? num(to, { maximumSignificantDigits: 8 }) : [to].flat().join(", ")}`;
  const buttons = variants.map((variant) => el("button", { type: "button", "data-what-if": variant.key, onclick: async (event) => {
    const { currentTarget: button } = event;
    button.disabled = true;
    const take = el("button", { type: "button", onclick: () => apply({ [variant.key]: variant.to }) }, word("take"));
    try {
      const found = await ask("solve", changed(variant), { kind: `what-if ${words(variant)}`, query: "?alternatives=none" });
      rows.push(found.plan ? [`${words(variant)}: ${gpusOf(found.plan)}`, ...figures(found.plan), take] : [`${words(variant)}: ${word(found.status)}`, ...FIGURES.map(() => null), take]);
      show();
      button.remove();
    } catch (error) { if (error.name !== "AbortError") holder.append(el("p", { class: "no", lang: "en" }, error.message)); }
  } }, words(variant)));
  const small = el("button", { type: "button", class: "ask-sensitivity", onclick: async () => {
    small.disabled = true;
    try {
      const { sensitivity = [] } = await ask("explain", body);
      wished.replaceChildren(...sensitivity.map((each) => (each.change in request || each.change in body
        ? el("button", { type: "button", "data-change": each.change, onclick: () => apply({ [each.change]: each.to }) }, each.message) : el("p", {}, each.message))));
      if (!sensitivity.length) wished.replaceChildren(el("p", {}, word("nothingSmall")));
      wished.lang = sensitivity.length ? "en" : "";
      small.remove();
    } catch (error) { small.disabled = false; if (error.name !== "AbortError") wished.replaceChildren(el("p", { class: "no", lang: "en" }, error.message)); }
  } }, word("smallAsk"));
  return el("section", { class: "what-if" }, el("h2", {}, word("whatIf")), el("p", { class: "soft" }, word("whatIfHint")), el("div", { class: "row" }, buttons), holder, el("div", { class: "row" }, small), wished);
}
