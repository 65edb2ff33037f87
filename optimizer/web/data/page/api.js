// Asking the server; the newest question of a kind ends the one before it.
const running = new Map();
const KEY = "vllm-opt-token";

export class Refused extends Error {}

function headers() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function sent(path, options) {
  for (;;) {
    const reply = await fetch(path, { ...options, headers: { ...options.headers, ...headers() } });
    if (reply.status === 401 && (await askForToken())) continue;
    if (reply.ok) return reply;
    let sentence = `HTTP ${reply.status}`;
    try { sentence = (await reply.json()).error ?? sentence; } catch { /* the status says it */ }
    throw new Refused(sentence);
  }
}

function askForToken() {
  const dialog = document.getElementById("token");
  const input = document.getElementById("token-text");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, input.value);
      resolve(dialog.returnValue === "ok" && input.value !== "");
    }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
}

export const stop = (kind) => running.get(kind)?.abort();

export async function ask(verb, body, { kind = verb, query = "" } = {}) {
  stop(kind);
  const control = new AbortController();
  running.set(kind, control);
  const reply = await sent(`/v1/${verb}${query}`, {
    method: "POST", body: JSON.stringify(body), signal: control.signal, headers: { "Content-Type": "application/json" },
  });
  return reply.json();
}

export async function listing(kind) {
  return (await sent(`/v1/${kind}`, {})).json();
}

export async function download(verb, body, format) {
  const reply = await sent(`/v1/${verb}?format=${format}`, {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  });
  const named = /filename="([^"]+)"/.exec(reply.headers.get("content-disposition") ?? "");
  save(await reply.blob(), named ? named[1] : `vllm-opt-${verb}.${format}`);
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
