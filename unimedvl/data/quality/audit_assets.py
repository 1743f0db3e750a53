"""Style and script of the audit's form, served as files of their own, so that nothing inline need be allowed."""

from __future__ import annotations

from unimedvl.data.page import STYLE

FORM_STYLE = (
    STYLE
    + """
main { max-width: 76rem; padding-top: .8rem; }
nav { display: flex; gap: 1.2rem; align-items: baseline; }
nav a, nav span { padding: .5rem 0; }
.progress { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: center; }
progress { width: 12rem; max-width: 100%; }
.sides { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 1rem 2.5rem; }
.sides > section { position: sticky; top: 0; align-self: start; max-height: 100vh; overflow-y: auto; }
.images figure { max-width: 100%; }
.images img { max-height: 55vh; }
fieldset { border: 1px solid var(--line); border-radius: 6px; margin: 0 0 .8rem; padding: .2rem .8rem .7rem;
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
  font-weight: 600; text-decoration: underline; }
.choices input:focus-visible + span { outline: 3px solid var(--dropped); outline-offset: 2px; }
form > p label { display: block; font-weight: 600; }
input[name="comment"], input[name="rater"] { width: 100%; max-width: 30rem; min-height: 2.75rem; font: inherit;
  padding: .4rem .6rem; color: inherit; background: var(--panel); border: 1px solid var(--soft); border-radius: 5px; }
button { font: inherit; font-weight: 600; min-height: 2.75rem; padding: .5rem 1.2rem; border: 0; border-radius: 5px;
  background: var(--kept); color: var(--paper); cursor: pointer; }
button:focus-visible, a:focus-visible { outline: 3px solid var(--dropped); outline-offset: 2px; }
.saved { color: var(--kept); font-weight: 600; }
footer { margin-top: 2rem; font-size: .85rem; }
@media (max-width: 48rem) {
  .sides { grid-template-columns: minmax(0, 1fr); }
  .sides > section { position: static; max-height: none; }
}
"""
)

FORM_SCRIPT = """"use strict";
(() => {
  const form = document.querySelector("form");
  const groups = [...form.querySelectorAll("fieldset")];
  const radios = (group) => [...group.querySelectorAll("input")];
  const isRated = (group) => radios(group).some((r) => r.checked);
  let place = Math.max(0, groups.findIndex((g) => !isRated(g)));
  let changed = false;

  function go(to, options) {
    place = Math.min(Math.max(to, 0), groups.length - 1);
    const all = radios(groups[place]);
    (all.find((r) => r.checked) || all[0]).focus(options);
  }

  function rate(value) {
    const radio = radios(groups[place]).find((r) => r.value === value);
    if (!radio) return;
    radio.checked = true;
    changed = true;
    radio.focus();
    if (place + 1 < groups.length) go(place + 1);
  }

  form.addEventListener("focusin", (event) => {
    const at = groups.indexOf(event.target.closest("fieldset"));
    if (at >= 0) place = at;
  });
  form.addEventListener("change", () => { changed = true; });
  form.addEventListener("submit", () => { changed = false; });
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
