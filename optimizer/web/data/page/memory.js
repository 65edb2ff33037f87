// Memory of one GPU: what fills it now, and what would fill it with longer contexts.
import { areas, bar } from "./charts.js";
import { contextText, gib, whole, word } from "./words.js";

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
  const all = (count) => known.map((p) => p.fixed_bytes + count * p.sequence_bytes);
  return areas({
    caption: word("memoryOverContext"), xName: word("context"), xText: contextText, yText: gib, cap: 1.2 * known[0].gpu_total_bytes,
    mark: plan.flags["max-model-len"], x: known.map((p) => p.max_model_len),
    parts: [{ name: word("m_weights"), kind: "b", values: known.map((p) => p.weights_bytes) },
      { name: word("m_activation"), kind: "c", values: known.map((p) => p.activation_bytes) },
      { name: word("m_other"), kind: "d", values: known.map((p) => p.fixed_bytes - p.weights_bytes - p.activation_bytes) },
      { name: word("kvOfOne"), kind: "a", values: known.map((p) => p.sequence_bytes) }],
    lines: each > 1 ? [{ name: word("kvOfAll", { n: whole(each) }), values: all(each) }] : [],
    limits: [{ y: known[0].gpu_total_bytes, text: `${word("gpuMemory")} ${gib(known[0].gpu_total_bytes)}` }, { y: known.at(-1).budget_bytes, text: `${word("memoryBudget")} ${gib(known.at(-1).budget_bytes)}` }],
  });
}
