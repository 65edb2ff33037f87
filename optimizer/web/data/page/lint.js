// A line that somebody has: what is wrong with it, and the line as it should be.
import { ask } from "./api.js";
import { el } from "./dom.js";
import { copyButton, datalist, downloadButtons, field, fillFromChoices, given, numberOf, spoken } from "./fields.js";
import { word } from "./words.js";

const START = { command: "vllm serve Qwen/Qwen3-32B \\\n  --tensor-parallel-size 2 \\\n  --max-model-len 131072 \\\n  --gpu-memory-utilization 0.98", gpu: "l40s" };

export function lint(main, context) {
  const request = { ...(context.request ?? START) };
  const gpus = datalist(main, "gpus", []);
  const text = el("textarea", { spellcheck: "false", rows: 7 }), gpu = el("input", { list: gpus.id, autocomplete: "off" }), users = el("input", { inputmode: "numeric" }), advice = el("input", { type: "checkbox" });
  text.value = request.command ?? "";
  gpu.value = request.gpu ?? "";
  users.value = request.concurrency ?? "";
  advice.checked = request.advice === true;
  const answer = el("div", { class: "answer" }), status = spoken();
  const go = el("button", { class: "main", type: "submit" }, word("checkIt"));
  const share = copyButton(() => location.href);
  share.textContent = word("link");
  const asked = () => given({ ...request, command: text.value, gpu: gpu.value.trim(), concurrency: numberOf(users.value.trim()), advice: advice.checked || undefined, optimum: false });

  async function solve(event) {
    event?.preventDefault();
    const body = asked();
    context.link(body);
    go.disabled = true;
    answer.replaceChildren(el("section", { class: "lead" }, el("p", { class: "big" }, word("asking"))));
    try { answer.replaceChildren(...reportParts(await ask("lint", body), body).filter(Boolean)); }
    catch (error) { if (error.name !== "AbortError") answer.replaceChildren(el("section", { class: "lead bad", lang: "en" }, el("p", { class: "big" }, error.message))); }
    finally { go.disabled = false; status.say(answer); }
  }

  main.append(el("form", { class: "answer", onsubmit: solve }, el("section", {}, field(word("line"), text),
    el("div", { class: "grid" }, field(word("onGpu"), gpu), field(word("users"), users)), el("label", { class: "check row" }, advice, word("advice")), el("div", { class: "row" }, go, share)), status.node, answer));
  fillFromChoices(main, context, (found) => gpus.replaceChildren(...found.gpus.map((each) => el("option", { value: each.id }, each.name))));
  if (context.request) solve();
}

function reportParts(report, body) {
  const command = report.commands[0];
  const findings = report.commands.flatMap((each) => each.findings);
  const starts = { true: "starts", false: "startsNot", null: "startsUnknown" }[String(command?.starts ?? null)];
  return [
    el("section", { class: report.errors ? "lead bad" : report.warnings ? "lead warn" : "lead" }, el("p", { class: "big" }, `${word(starts)}. ${word("found", { e: report.errors, w: report.warnings, n: report.notes })}`)),
    el("section", {}, el("h2", {}, word("findings")), findings.length === 0 && el("p", {}, word("noFindings")),
      el("div", { lang: "en" }, findings.map((each) => el("div", { class: `finding ${each.level}` }, el("b", {}, `${each.level}: ${each.rule}`), el("p", {}, each.message), each.changes.length > 0 && el("p", { class: "ok" }, each.changes.map(said).join(", ")), each.gain_text && el("p", { class: "soft" }, each.gain_text))))),
    el("section", {}, el("h2", {}, word("fixed")), report.fixed_text && report.fixed_text !== body.command
      ? [el("pre", {}, difference(body.command, report.fixed_text)), el("div", { class: "row" }, copyButton(() => report.fixed_text))] : el("p", {}, word("nothingFixed"))),
    el("section", {}, el("h2", {}, word("downloads")), downloadButtons("lint", body, ["fixed", "sarif", "json", "table"])),
  ];
}

const said = (change) => `${change.flag}${change.from === null ? "" : ` ${change.from}`} → ${change.to ?? "∅"}`;

// Words that went and words that came, by the longest run that both texts share.
function difference(before, after) {
  const a = before.split(/(\s+)/), b = after.split(/(\s+)/);
  if (a.length * b.length > 4e6) return after;
  const length = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) for (let j = b.length - 1; j >= 0; j -= 1) length[i][j] = a[i] === b[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
  const parts = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { parts.push(a[i]); i += 1; j += 1; }
    else if (j >= b.length || (i < a.length && length[i + 1][j] >= length[i][j + 1])) { parts.push(a[i].trim() ? el("del", {}, a[i]) : a[i]); i += 1; }
    else { parts.push(b[j].trim() ? el("ins", {}, b[j]) : b[j]); j += 1; }
  }
  return parts;
}
