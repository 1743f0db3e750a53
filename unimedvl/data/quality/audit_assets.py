"""Style and script of the audit's form, served as files of their own, so that nothing inline need be allowed."""

from __future__ import annotations

from unimedvl.data.page import STYLE

FORM_STYLE = (
    STYLE
    + """
:root { color-scheme: light dark; accent-color: var(--kept); }
main { max-width: 76rem; padding-top: .8rem; }
nav { display: flex; gap: 1.2rem; align-items: baseline; }
nav a, nav span { padding: .5rem 0; }
.progress { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: center; }
progress { width: 12rem; max-width: 100%; }
.sides { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 1rem 2.5rem; }
.sides > section { position: sticky; top: 0; align-self: start; max-height: 100vh; overflow-y: auto; }
.images figure { flex: 1 1 15rem; max-width: 100%; }
.images img { width: min(100%, 55vh); max-height: 55vh; object-fit: contain; }
fieldset { border: 1px solid var(--line); border-radius: 6px; margin: 0 0 .6rem; padding: 0 .8rem .6rem;
  min-width: 0; }
fieldset:focus-within { border-color: var(--kept); }
legend { font-weight: 600; padding: 0 .3rem; }
fieldset p { font-size: .86rem; margin: 0 0 .4rem; }
.choices { display: flex; flex-wrap: wrap; gap: .3rem; }
.choices label { position: relative; display: inline-flex; }
.choices input { position: absolute; inset: 0; margin: 0; opacity: 0; width: 100%; height: 100%; cursor: pointer; }
.choices span { min-width: 2.75rem; min-height: 2.75rem; padding: .55rem .6rem; text-align: center;
  border: 1px solid var(--soft); border-radius: 5px; }
.choices input:checked + span { background: var(--kept); border-color: var(--kept); color: var(--paper);
  text-decoration: underline; }
.choices input:focus-visible + span { outline: 3px solid var(--dropped); outline-offset: 2px; }
form > p label { display: block; font-weight: 600; }
input[name="comment"], input[name="rater"] { width: 100%; max-width: 30rem; min-height: 2.75rem; font: inherit;
  padding: .4rem .6rem; color: inherit; background: var(--panel); border: 1px solid var(--soft); border-radius: 5px; }
button { font: inherit; font-weight: 600; min-height: 2.75rem; padding: .5rem 1.2rem; border: 0; border-radius: 5px;
  background: var(--kept); color: var(--paper); cursor: pointer; }
button:focus-visible, a:focus-visible { outline: 3px solid var(--dropped); outline-offset: 2px; }
.save { display: flex; flex-wrap: wrap; gap: .4rem 1rem; align-items: center; margin: 0 0 .8rem; }
.save p { margin: 0; }
.begin { margin-bottom: 1.6rem; }
button:disabled { opacity: .6; cursor: progress; }
.saved { color: var(--kept); font-weight: 600; }
.failed { color: var(--dropped); font-weight: 600; }
footer { margin-top: 2rem; font-size: .85rem; }
@media (hover: hover) and (pointer: fine) { .choices span { min-height: 2.3rem; padding: .3rem .6rem; } }
@media (hover: none) { .keys { display: none; } }
@media (max-width: 48rem) {
  .sides { grid-template-columns: minmax(0, 1fr); }
  .sides > section { position: static; max-height: none; }
}
"""
)

# Browsers ask for an icon of any page.
FORM_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#2f6f9f"/>'
    '<path d="M4 8.5 7 11.5 12.5 5" fill="none" stroke="#fff" stroke-width="2"/></svg>'
)

FORM_SCRIPT = """"use strict";
(() => {
  const form = document.querySelector("form");
  const state = document.getElementById("state");
  const button = form.querySelector("button");
  const groups = [...form.querySelectorAll("fieldset")];
  const radios = (group) => [...group.querySelectorAll("input")];
  const isRated = (group) => radios(group).some((r) => r.checked);
  const draft = "draft " + location.pathname;
  let changed = restore();
  let saving = false;
  let place = Math.max(0, groups.findIndex((g) => !isRated(g)));

  function say(words, kind) {
    state.textContent = words;
    state.className = kind;
    state.scrollIntoView({ block: "nearest" });
  }

  // What is chosen but not saved yet outlives a reload, in this tab alone.
  function restore() {
    const kept = JSON.parse(sessionStorage.getItem(draft) || "[]");
    for (const [name, value] of kept) {
      if (name === "comment") form.elements.comment.value = value;
      const radio = [...form.elements].find((r) => r.type === "radio" && r.name === name && r.value === value);
      if (radio) radio.checked = true;
    }
    if (kept.length) state.textContent = "Chosen, but not saved yet.";
    if (kept.length) state.className = "soft";
    return kept.length > 0;
  }

  function noteChange() {
    changed = true;
    try { sessionStorage.setItem(draft, JSON.stringify([...new FormData(form)])); } catch { /* no room: no draft */ }
    if (!saving) state.textContent = "Not saved yet.";
    if (!saving) state.className = "soft";
  }

  function go(to, options) {
    place = Math.min(Math.max(to, 0), groups.length - 1);
    const all = radios(groups[place]);
    (all.find((r) => r.checked) || all[0]).focus(options);
  }

  function rate(value) {
    const radio = radios(groups[place]).find((r) => r.value === value);
    if (!radio) return;
    radio.checked = true;
    noteChange();
    radio.focus();
    if (place + 1 < groups.length) go(place + 1);
  }

  // Sent from here and not by the browser, which would leave the page, and all that was chosen, for an error's.
  async function save() {
    saving = button.disabled = true;
    say("Saving.", "soft");
    try {
      const body = new URLSearchParams(new FormData(form));
      const answer = await fetch(location.pathname, { method: "POST", body, signal: AbortSignal.timeout(60000) });
      if (!answer.ok) throw new Error((await answer.text()).trim());
      changed = false;
      sessionStorage.removeItem(draft);
      location.assign(answer.url);
    } catch (error) {
      saving = button.disabled = false;
      const lost = error instanceof TypeError || error.name === "TimeoutError";
      const why = lost ? "the server does not answer" : error.message;
      say("Not saved: " + why.replace(/[.]?$/, ". ") + "What you chose is still here; save again.", "failed");
    }
  }

  form.addEventListener("focusin", (event) => {
    const at = groups.indexOf(event.target.closest("fieldset"));
    if (at >= 0) place = at;
  });
  form.addEventListener("input", noteChange);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!saving) save();
  });
  window.addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    const target = event.target;
    const typing = target.matches("input:not([type=radio]), textarea");
    if (event.key === "Enter") {
      if (target.matches("a, button")) return;
      event.preventDefault();
      form.requestSubmit();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (typing && event.key === "ArrowDown") return;
      event.preventDefault();
      go(typing ? groups.length - 1 : place + (event.key === "ArrowDown" ? 1 : -1));
    } else if (!typing && /^[0-9]$/.test(event.key)) {
      event.preventDefault();
      const half = radios(groups[place]).some((r) => r.value === "0.5");
      rate(half && event.key === "5" ? "0.5" : event.key);
    } else if (!typing && event.key.toLowerCase() === "n") {
      event.preventDefault();
      rate("");
    }
  });

  // Not on a phone, where there are no keys and the image comes first.
  if (window.matchMedia("(hover: hover)").matches) go(place, { preventScroll: true });
})();
"""
