"use strict";
// This script sends requests from the page, searches the page and copies its examples. It shows answers as text only,
// because untrusted code wrote some of them. The token and the ids stay in this tab.
document.documentElement.classList.add("script");

const token = document.getElementById("token");
token.value = sessionStorage.getItem("token") || "";
token.addEventListener("input", () => sessionStorage.setItem("token", token.value));

// remember writes the ids of an answer into the forms that ask for them.
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
  } catch { /* not JSON: the text stays unchanged */ }
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

// The examples name this server.
for (const span of document.querySelectorAll(".origin")) span.textContent = location.origin;

// copy puts a text on the clipboard. On plain HTTP beyond localhost browsers have no navigator.clipboard.
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

for (const pre of document.querySelectorAll("article pre:not([hidden])")) {
  const text = pre.textContent;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await copy(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  pre.prepend(button);
}

// Search: a link of the navigation stays if its article has all words.
const search = document.getElementById("search");
const links = [...document.querySelectorAll("nav section a")].map((link) => {
  const article = document.getElementById(decodeURIComponent(link.hash.slice(1)));
  return { link, text: (link.textContent + " " + article.textContent).toLowerCase() };
});

search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const { link, text } of links) {
    link.hidden = !words.every((word) => text.includes(word));
    found += link.hidden ? 0 : 1;
  }
  for (const section of document.querySelectorAll("nav section")) {
    section.hidden = !section.querySelector("a:not([hidden])");
  }
  document.getElementById("nothing").hidden = found > 0;
});

search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") links.find(({ link }) => !link.hidden)?.link.click();
  if (event.key === "Escape") {
    search.value = "";
    search.dispatchEvent(new Event("input"));
    search.blur();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
  event.preventDefault();
  search.focus();
});
