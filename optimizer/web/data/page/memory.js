// Memory of one GPU: what fills it now, and what would fill it with longer contexts.
import { areas, bar } from "./charts.js";
import { contextText, gib, num, whole, word } from "./words.js";

export function memoryBar(plan) {
  const m = plan.memory, graphs = m.cuda_graph_in_budget ? m.cuda_graph_bytes : 0;
  const weights = m.weights_bytes + m.weights_extra_bytes + m.draft_bytes + m.lora_bytes;
  const activation = Math.max(m.activation_peak_bytes, m.encoder_peak_bytes), other = m.non_torch_bytes + graphs;
  return bar({ label: word("memory"), text: gib, whole: m.gpu_total_bytes, line: m.budget_bytes, parts: [
    { name: word("m_weights"), value: weights, kind: "b" }, { name: word("m_activation"), value: activation, kind: "c" },
    { name: word("m_other"), value: other, kind: "d" }, { name: word("m_kv"), value: m.kv_cache_bytes, kind: "a" },
    { name: word("m_free"), value: Math.max(0, m.gpu_total_bytes - weights - activation - other - m.kv_cache_bytes), kind: "f" }] });
}

// Bytes over context length: what is fixed, one request that fills its context, and all that were asked for.
export function memoryOverContext(plan, points, users) {
  const known = points.filter((p) => p.sequence_bytes !== null);
  if (known.length < 2) return null;
  const each = Math.max(1, Math.ceil(users / (plan.replicas * plan.data_parallel_size)));
  const inGib = (value) => value / 2 ** 30, all = (count) => known.map((p) => inGib(p.fixed_bytes + count * p.sequence_bytes)), total = inGib(known[0].gpu_total_bytes), budget = inGib(known.at(-1).budget_bytes);
  const text = (value) => `${num(value, { maximumSignificantDigits: 3 })} GiB`;
  return areas({
    caption: word("memoryOverContext"), xName: word("context"), xText: contextText, yText: text, cap: 1.2 * total,
    mark: plan.flags["max-model-len"], x: known.map((p) => p.max_model_len),
    parts: [{ name: word("m_weights"), kind: "b", values: known.map((p) => inGib(p.weights_bytes)) },
      { name: word("m_activation"), kind: "c", values: known.map((p) => inGib(p.activation_bytes)) },
      { name: word("m_other"), kind: "d", values: known.map((p) => inGib(p.fixed_bytes - p.weights_bytes - p.activation_bytes)) },
      { name: word("kvOfOne"), kind: "a", values: known.map((p) => inGib(p.sequence_bytes)) }],
    lines: each > 1 ? [{ name: word("kvOfAll", { n: whole(each) }), values: all(each) }] : [],
    limits: [{ y: total, text: `${word("gpuMemory")} ${text(total)}` }, { y: budget, text: `${word("memoryBudget")} ${text(budget)}` }],
  });
}
