// The frame: which job, which language, light or dark, and the link that says it all.
import { listing } from "./api.js";
import { configure } from "./configure.js";
import { lint } from "./lint.js";
import { order } from "./order.js";
import { place } from "./place.js";
import { el } from "./dom.js";
import { useLanguage, word } from "./words.js";

const JOBS = { configure, order, place, lint };
const main = document.getElementById("main");
let choices = null;

function remembered(key, otherwise) {
  try { return localStorage.getItem(key) ?? otherwise; } catch { return otherwise; }
}
function remember(key, value) {
  try { localStorage.setItem(key, value); } catch { /* a browser that keeps nothing */ }
}

function fromLink() {
  const [job, query = ""] = location.hash.slice(1).split("?");
  let request = null;
  try { request = JSON.parse(new URLSearchParams(query).get("q")); } catch { request = null; }
  return { job: job in JOBS ? job : "configure", request: request && typeof request === "object" && !Array.isArray(request) ? request : null };
}

function link(job, request) {
  const query = Object.keys(request).length ? `?${new URLSearchParams({ q: JSON.stringify(request) })}` : "";
  history.replaceState(null, "", `#${job}${query}`);
}

function show() {
  const { job, request } = fromLink();
  for (const each of document.querySelectorAll("[data-word]")) each.textContent = word(each.dataset.word);
  for (const each of document.querySelectorAll("nav a")) {
    if (each.dataset.job === job) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  document.title = `${word(job)} – vllm-opt`;
  main.replaceChildren(el("h1", { class: "hidden" }, word(job)));
  JOBS[job](main, { choices, request, link: (changed) => link(job, changed) });
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  const button = document.getElementById("theme");
  button.setAttribute("aria-pressed", String(name === "dark"));
}

function setLanguage(tag) {
  useLanguage(tag);
  document.documentElement.lang = tag;
  document.getElementById("language").value = tag;
}

setLanguage(remembered("vllm-opt-language", navigator.language.startsWith("zh") ? "zh-Hant" : "en"));
theme(remembered("vllm-opt-theme", matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
document.getElementById("language").addEventListener("change", (event) => {
  setLanguage(event.target.value);
  remember("vllm-opt-language", event.target.value);
  show();
});
document.getElementById("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  theme(next);
  remember("vllm-opt-theme", next);
});
addEventListener("hashchange", () => { show(); main.focus({ preventScroll: true }); });

show();
listing("choices").then((found) => { choices = found; main.dispatchEvent(new CustomEvent("choices", { detail: found })); }).catch(() => {});
