/* What the page does in the browser itself: the tab's secret, uploads, before and after, keys. */
(() => {
  const KEY = "unimedvl-tab";
  const fresh = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  let held = null;
  const secret = () => {
    try {
      held = sessionStorage.getItem(KEY) || held || fresh();
      sessionStorage.setItem(KEY, held);
    } catch {
      held = held || fresh(); // storage is switched off: a reload begins anew
    }
    return held;
  };
  window.unimedvl = { secret };
  const find = (selector) => document.querySelector(selector);
  const say = (sentence) => {
    const place = find("#refused");
    place?.replaceChildren();
    if (!place || !sentence) return;
    const line = document.createElement("p");
    line.className = "problem";
    line.textContent = sentence;
    place.append(line);
  };
  // A sentence that begins with a file's name leaves that as it is.
  const capital = (text) => (/^\S*: /.test(text) ? text.charAt(0) : text.charAt(0).toUpperCase()) + text.slice(1)
    + (/[.!?]$/.test(text) ? "" : ".");

  const upload = (files) => {
    const drop = find(".drop");
    const bar = drop.querySelector("progress");
    const most = Number(drop.dataset.mostBytes);
    if (!files.length) return;
    if (files.length > Number(drop.dataset.mostFiles)) return say(`At most ${drop.dataset.mostFiles} files are taken at a time.`);
    const size = [...files].reduce((sum, file) => sum + file.size, 0);
    if (size > most) return say(`The files have ${(size / 2 ** 20).toFixed(0)} MiB together; at most ${most / 2 ** 20} MiB are taken.`);
    const form = new FormData();
    for (const file of files) form.append("image", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", "page/upload");
    request.setRequestHeader("x-page-secret", secret());
    request.responseType = "json";
    request.upload.onprogress = (event) => { bar.value = event.loaded / event.total; };
    const end = (sentence) => { bar.hidden = true; drop.removeAttribute("aria-busy"); if (sentence) say(capital(sentence)); };
    request.onerror = () => end("The upload was cut off; try again");
    request.onload = () => {
      const told = request.response || {};
      if (request.status !== 200) return end(told.error?.message || `The upload was refused (${request.status})`);
      const problems = told.problems || [];
      if (told.added) drop.dispatchEvent(new Event("uploaded", { bubbles: true }));
      end(problems.join("; ") || (told.added ? "" : "No file came"));
    };
    say("");
    bar.value = 0;
    bar.hidden = false;
    drop.setAttribute("aria-busy", "true");
    request.send(form);
  };

  document.addEventListener("change", (event) => {
    if (event.target.id !== "files") return;
    upload(event.target.files);
    event.target.value = "";
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("[data-example], #remove, #clear")) say("");
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const study = event.target.closest?.("#study");
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      find(".drop")?.classList.toggle("over", kind === "dragover" && Boolean(study));
      if (kind === "drop" && study) upload(event.dataTransfer.files);
    });
  }
  document.addEventListener("input", (event) => {
    if (!event.target.matches(".split input")) return;
    event.target.closest("figure").querySelector(".compare").style.setProperty("--split", `${event.target.value}%`);
  });
  document.addEventListener("keydown", (event) => {
    const cancel = find("button#cancel");
    if (event.key === "Escape" && cancel && !cancel.disabled) cancel.click();
  });
  // A reload comes back at once; a tab that was closed is forgotten.
  window.addEventListener("pagehide", () => navigator.sendBeacon("page/leave", secret()));
  new MutationObserver(() => {
    const status = find("#status");
    if (status && !status.hasAttribute("aria-live")) status.setAttribute("aria-live", "polite");
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
