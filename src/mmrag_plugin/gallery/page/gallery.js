// ---- the page -----------------------------------------------------------------------------------------

const NOTHING = { query: "", kind: "", since: "", until: "", folder: "", near: "", person: "" };
const KINDS = { image: "Photos", video: "Films" };

const page = {
  source: window.parent === window ? loopback : host,
  locale: undefined,
  asked: { ...NOTHING },
  hits: [],
  next: null,
  turn: 0,

  get alone() {
    return this.source === loopback;
  },

  setLocale(name) {
    try {
      [this.locale] = Intl.getCanonicalLocales(name);
    } catch { /* the browser's own stays */ }
  },

  canAskAbout() {
    return this.alone || Boolean(host.offers.message || host.offers.serverTools);
  },

  async start() {
    document.documentElement.dataset.shown = this.alone ? "alone" : "inside";
    if (!this.alone) this.listen();
    let opened;
    try {
      opened = await this.source.open();
    } catch (error) {
      this.say(failureText(error), "warning");
      return;
    }
    byId("search").hidden = !this.source.can.search;
    byId("library").textContent = plain(opened.library);
    if (!this.alone) return;
    document.title = `${plain(opened.library)} – mmrag`;
    byId("talk-switch").hidden = false;
    const wide = window.matchMedia("(min-width: 70rem)"); // room for the conversation beside the grid
    talk.toggle(wide.matches);
    wide.addEventListener("change", () => { if (!talk.running) talk.toggle(wide.matches); });
    this.offerFilters();
    byId("query").value = new URLSearchParams(location.hash.slice(1)).get("q") || "";
    this.search({ ...NOTHING, query: byId("query").value });
  },

  // What an assistant tells: the call that it made, and what came of it.
  listen() {
    host.on("ui/notifications/tool-input", ({ arguments: given }) => {
      host.madeBy(given || {});
      this.asked = { ...NOTHING, query: String(given?.query ?? given?.question ?? "") };
      byId("query").value = this.asked.query;
      this.busy(true);
    });
    host.on("ui/notifications/tool-result", (result) => {
      this.busy(false);
      if (result.isError) { this.say(wordsOf(result), "warning"); return; }
      const told = result.structuredContent || {};
      if (told.sources) this.showAnswer(told);
      else this.show(hitsOf(result));
    });
    host.on("ui/notifications/tool-cancelled", () => { this.busy(false); this.say("It was stopped."); });
    host.on("teardown", () => detail.close());
  },

  // ---- searching ------------------------------------------------------------------------------------

  async search(asked, { focus = false } = {}) {
    this.asked = asked;
    const turn = ++this.turn;
    this.busy(true);
    try {
      const found = await this.source.search(asked, null);
      if (turn !== this.turn) return; // a later search has begun
      this.show(found);
      if (focus) byId("results").focus({ preventScroll: true });
    } catch (error) {
      if (turn !== this.turn) return;
      this.show({ hits: [], warnings: [], next: null, failed: true });
      this.say(failureText(error), "warning");
      announce(failureText(error));
    } finally {
      if (turn === this.turn) this.busy(false);
    }
    if (this.alone) history.replaceState(null, "", asked.query ? `#q=${encodeURIComponent(asked.query)}` : location.pathname);
  },

  async more() {
    const { turn } = this;
    this.busy(true);
    try {
      const found = await this.source.search(this.asked, this.next);
      if (turn !== this.turn) return;
      const first = this.add(found);
      first?.focus();
      announce(`${found.hits.length} more, ${this.hits.length} in all.`);
    } catch (error) {
      this.say(failureText(error), "warning");
    } finally {
      if (turn === this.turn) this.busy(false);
    }
  },

  show(found) {
    const { query } = this.asked;
    byId("answer")?.remove();
    byId("notes").replaceChildren(...found.warnings.map((warning) => note(warning)));
    this.hits = [];
    byId("heading").textContent = query ? `“${plain(query)}”` : this.isNarrowed() || !this.alone ? "Found" : "Newest";
    const understood = byId("understood");
    understood.textContent = [found.count === null || found.count === undefined ? "" : query ? `${found.count} counted` : `${found.count} in all`, found.understood && `understood as ${plain(found.understood)}`].filter(Boolean).join(" · ");
    understood.hidden = !understood.textContent;
    this.add(found, { adding: false });
    const empty = byId("empty");
    empty.hidden = Boolean(found.hits.length) || Boolean(found.failed);
    empty.textContent = query || this.isNarrowed() ? "Nothing was found. Try other words, or fewer filters." : "There is nothing here yet. Index a folder: mmrag index FOLDER";
    if (!found.failed) announce(found.hits.length ? `${found.hits.length} ${found.hits.length === 1 ? "result" : "results"}${found.next === null ? "" : ", and there are more"}.` : empty.textContent);
  },

  add(found, { adding = true } = {}) {
    const listed = this.alone && !this.asked.query; // in order of time: nothing was matched
    const hits = found.hits.map((hit) => ({ ...hit, listed }));
    this.hits.push(...hits);
    this.next = found.next;
    byId("more").hidden = found.next === null || !this.source.can.search;
    return grid.show(hits, (hit) => detail.open(hit, this.hits), { adding });
  },

  isNarrowed() {
    return ["kind", "since", "until", "folder", "near", "person"].some((name) => this.asked[name]);
  },

  busy(working) {
    byId("results").setAttribute("aria-busy", String(working));
    document.documentElement.toggleAttribute("data-busy", working);
  },

  say(text, kind = "note") {
    byId("notes").append(note(text, kind));
  },

  // ---- filters --------------------------------------------------------------------------------------

  async offerFilters() {
    let facets;
    try {
      facets = await this.source.facets();
    } catch {
      return; // the search says what is wrong
    }
    const box = byId("filters");
    for (const [name, label, all] of [["kind", "Kind", "Photos and films"], ["month", "When", "Any time"], ["city", "Where", "Anywhere"], ["person", "Who", "Anybody"], ["folder", "Folder", "All folders"]]) {
      const values = facets[name] || [];
      if (values.length < 2 && name !== "kind") continue;
      const chooser = make("select", { name, "aria-label": label }, make("option", { value: "", text: all }),
        ...values.map(({ value, label: words, count }) => make("option", { value, text: `${name === "month" ? dateOf(words) : name === "kind" ? KINDS[value] || value : plain(words)} (${count})` })));
      box.append(chooser);
    }
    box.hidden = !box.childElementCount;
    box.addEventListener("change", () => this.searched());
  },

  narrowed() {
    const chosen = (name) => byId("filters").querySelector(`[name="${name}"]`)?.value || "";
    const month = chosen("month");
    return { kind: chosen("kind"), since: month, until: month, near: chosen("city"), person: chosen("person"), folder: chosen("folder") };
  },

  searched(options) {
    this.search({ ...NOTHING, query: byId("query").value.trim(), ...(this.alone ? this.narrowed() : {}) }, options);
  },

  // ---- asking ---------------------------------------------------------------------------------------

  // Ask about one: in the conversation beside, or through the assistant.
  async askAbout(question, hit, place) {
    if (this.alone) {
      detail.close();
      talk.toggle(true);
      talk.field.focus();
      talk.ask(question, hit);
      return;
    }
    place.hidden = false;
    place.replaceChildren(note("Asking…"));
    try {
      const told = await host.askAbout(question, hit);
      place.replaceChildren(note(told.handedOn ? "The assistant has your question." : told.answer, "answer-words"));
    } catch (error) {
      place.replaceChildren(note(failureText(error), "warning"));
    }
    announce(place.textContent, "said");
  },

  // An answer that the assistant had made: its words, and its sources as the grid.
  showAnswer(told) {
    const hits = told.sources.map(whole);
    const sources = new Map(hits.map((hit, at) => [at + 1, hit]));
    this.show({ hits, warnings: told.warnings || [], next: null });
    byId("heading").textContent = "Sources";
    byId("answer")?.remove();
    byId("notes").before(make("section", { id: "answer", class: "answer", "aria-label": "Answer" }, make("p", { class: "answer-words", dir: "auto" }, cited(plain(told.answer), sources))));
    announce(`Answer: ${plain(told.answer)}`, "said");
  },
};

sends(byId("search"), () => page.searched({ focus: true }));
byId("more").addEventListener("click", () => page.more());
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select") || detail.dialog.open || byId("search").hidden) return;
  event.preventDefault();
  byId("query").focus();
  byId("query").select();
});
page.start();
