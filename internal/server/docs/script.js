"use strict";
// Lets people try requests. Answers are shown as text only, because some of them were written by
// untrusted code. The token and the ids live in this tab.
document.documentElement.classList.add("script");

const token = document.getElementById("token");
token.value = sessionStorage.getItem("token") || "";
token.addEventListener("input", () => sessionStorage.setItem("token", token.value));

// remember fills the ids that an answer brought into the forms that ask for them.
function remember(form, answer) {
  if (form.dataset.id === "create-session") fill("id", answer.id);
  if (form.dataset.id === "submit-cell") fill("cell", answer.id);
}

function fill(name, value) {
  if (!value) return;
  sessionStorage.setItem(name, value);
  for (const input of document.querySelectorAll(`input[data-in=path][name=${name}]`)) input.value = value;
}

function request(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  const headers = {};
  let body;
  for (const input of form.querySelectorAll("[data-in]")) {
    const { value, name } = input;
    if (input.dataset.in === "path") path = path.replace(`{${name}}`, value.split("/").map(encodeURIComponent).join("/"));
    else if (input.dataset.in === "body") body = value || undefined;
    else if (value && input.dataset.in === "query") query.append(name, value);
    else if (value && input.dataset.in === "header") headers[name] = value;
  }
  if (token.value) headers.Authorization = "Bearer " + token.value.trim();
  if (body !== undefined) headers["Content-Type"] = form.dataset.type;
  return [path + (query.size ? "?" + query : ""), { method: form.dataset.method, headers, body }];
}

async function show(out, response, form) {
  const type = response.headers.get("Content-Type") || "";
  if (/octet-stream/.test(type)) {
    const blob = await response.blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = form.querySelector("[name=path]").value.split("/").pop();
    link.click();
    URL.revokeObjectURL(link.href);
    out.textContent += `${blob.size} bytes, saved as ${link.download}`;
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const head = out.textContent;
  let text = "";
  for (let part; !(part = await reader.read()).done; ) {
    text += part.value;
    out.textContent = head + text;
  }
  try {
    const answer = JSON.parse(text);
    out.textContent = head + JSON.stringify(answer, null, 2);
    if (response.ok) remember(form, answer);
  } catch { /* not JSON: it stays as it is */ }
}

for (const form of document.querySelectorAll("form")) {
  for (const input of form.querySelectorAll("input[data-in=path]")) input.value = sessionStorage.getItem(input.name) || "";
  const out = form.querySelector("pre");
  const stop = form.querySelector(".stop");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const abort = new AbortController();
    stop.hidden = out.hidden = false;
    stop.onclick = () => abort.abort();
    out.textContent = "…";
    const begun = performance.now();
    try {
      const [url, options] = request(form);
      const response = await fetch(url, { ...options, signal: abort.signal });
      out.textContent = `${response.status} ${response.statusText} after ${Math.round(performance.now() - begun)} ms\n\n`;
      await show(out, response, form);
    } catch (error) {
      out.textContent += `\n${error.name === "AbortError" ? "stopped" : error}`;
    }
    stop.hidden = true;
  });
}
