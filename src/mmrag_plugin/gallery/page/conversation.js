// ---- the conversation -------------------------------------------------------------------------------

const CITATION = /\[(\d{1,3}(?:\s*[,;\u2013-]\s*\d{1,3})*)\]/g;

// The numbers that a citation like [1, 3] or [2-4] names.
function numbersIn(inside) {
  const named = [];
  for (const part of inside.split(/\s*[,;]\s*/)) {
    const [first, last = first] = part.split(/\s*[\u2013-]\s*/).map(Number);
    for (let number = first; number <= Math.min(last, first + 50); number += 1) named.push(number);
  }
  return named;
}

// An answer as text, its citations as buttons that open what they cite.
function cited(text, sources) {
  const shown = document.createDocumentFragment();
  let end = 0;
  for (const found of text.matchAll(CITATION)) {
    shown.append(text.slice(end, found.index));
    end = found.index + found[0].length;
    for (const number of numbersIn(found[1])) {
      const hit = sources.get(number);
      if (hit) shown.append(make("button", { type: "button", class: "cite", "aria-label": `Source ${number}: ${nameOf(hit)} ${spanOf(hit)}`.trim(), on: { click: () => openSource(hit, sources) } }, `[${number}]`));
      else shown.append(`[${number}]`);
    }
  }
  shown.append(text.slice(end));
  return shown;
}

function openSource(hit, sources) {
  detail.open(hit, [...sources.values()], { play: hit.kind === "video" && hit.start_s !== null });
}

// The sources of an answer, each with its number and its picture.
function sourceList(numbers, sources) {
  const list = make("ol", { class: "sources", role: "list" });
  for (const number of numbers) {
    const hit = sources.get(number);
    if (!hit) continue;
    const words = make("span", { class: "source-words" }, their("span", nameOf(hit), { class: "name" }), make("span", { class: "meta", text: [dateOf(hit.taken_at), spanOf(hit)].filter(Boolean).join(" · ") }));
    list.append(make("li", {}, make("button", {
      type: "button", class: "source", on: { click: () => openSource(hit, sources) },
    }, make("span", { class: "number", text: `[${number}]` }), pictureFrame(hit), words)));
  }
  return list;
}

const talk = {
  pane: byId("talk"),
  turns: byId("turns"),
  field: byId("message"),
  sources: new Map(),
  about: null,
  running: null,
  checked: false,

  toggle(open = this.pane.hidden) {
    this.pane.hidden = !open;
    document.documentElement.dataset.talk = open ? "open" : "closed";
    byId("talk-switch").setAttribute("aria-expanded", String(open));
    if (open) this.check();
  },

  // Say at once where no model can answer, and what to do; searching works all the same.
  async check() {
    if (this.checked) return;
    this.checked = true;
    try {
      const missing = await page.source.ready();
      if (missing && !this.turns.childElementCount) this.turns.append(note(`Search works; answers don't yet. ${failureText(missing)}`, "warning hint"));
    } catch { /* a question will say it */ }
  },

  pointAt(hit) {
    this.about = hit;
    const box = byId("about");
    box.hidden = !hit;
    box.replaceChildren();
    if (!hit) return;
    box.append("About ", their("bdi", nameOf(hit)), spanOf(hit) ? ` ${spanOf(hit)} ` : " ",
      make("button", { type: "button", class: "round tiny", "aria-label": "Ask about everything again", on: { click: () => { this.pointAt(null); this.field.focus(); } } }, icon("close")));
  },

  async ask(message, about = this.about) {
    if (this.running || !message.trim()) return;
    this.turns.querySelector(".hint")?.remove();
    this.pointAt(null);
    this.field.value = "";
    const answer = make("div", { class: "answer", "aria-busy": "true" });
    const words = make("p", { class: "answer-words", dir: "auto" });
    answer.append(words);
    const asked = make("p", { class: "asked", dir: "auto" }, make("span", { class: "unseen", text: "You asked: " }));
    if (about) asked.append(make("span", { class: "asked-about" }, "about ", their("bdi", nameOf(about)), ` ${spanOf(about)}`));
    asked.append(plain(message));
    this.turns.append(make("article", { class: "turn" }, asked, answer));
    this.turns.scrollTop = this.turns.scrollHeight;
    this.running = new AbortController();
    this.showRunning(true);
    try {
      const told = await page.source.ask(message, about, {
        signal: this.running.signal,
        onPiece: (piece) => { words.append(plain(piece)); this.follow(); },
      });
      this.end(answer, words, told);
    } catch (error) {
      const stopped = error.name === "AbortError";
      if (stopped || words.textContent) words.append(make("span", { class: "label", text: stopped ? " (stopped; nothing of it is kept)" : "" }));
      if (!stopped) answer.append(note(failureText(error), "warning"));
      announce(stopped ? "Stopped." : failureText(error), "said");
    } finally {
      answer.removeAttribute("aria-busy");
      this.running = null;
      this.showRunning(false);
      this.follow();
    }
  },

  // Show a whole answer with its citations and sources.
  end(answer, words, told) {
    for (const source of told.sources) this.sources.set(source.number, source);
    words.replaceChildren(cited(plain(told.answer), this.sources));
    const numbers = told.cited.length ? told.cited : told.sources.map((source) => source.number);
    const shown = sourceList(numbers, this.sources);
    if (shown.childElementCount) answer.append(shown);
    answer.append(...told.warnings.map((warning) => note(warning)));
    if (told.model) answer.append(make("p", { class: "by", text: `by ${plain(told.model)}` }));
    announce(`Answer: ${plain(told.answer)}`, "said");
  },

  follow() {
    this.turns.scrollTop = this.turns.scrollHeight;
  },

  showRunning(running) {
    byId("send").hidden = running;
    byId("stop").hidden = !running;
  },

  begin() {
    this.running?.abort();
    page.source.newTalk();
    this.sources = new Map();
    this.turns.replaceChildren();
    this.pointAt(null);
    this.checked = false;
    this.check();
    this.field.focus();
  },
};

sends(byId("ask"), () => talk.ask(talk.field.value));
byId("stop").addEventListener("click", () => { talk.running?.abort(); talk.field.focus(); });
byId("talk-new").addEventListener("click", () => talk.begin());
byId("talk-switch").addEventListener("click", () => { talk.toggle(); if (!talk.pane.hidden) talk.field.focus(); });
byId("talk-close").addEventListener("click", () => { talk.toggle(false); byId("talk-switch").focus(); });
talk.pane.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (talk.running) talk.running.abort();
  else { talk.toggle(false); byId("talk-switch").focus(); }
});
