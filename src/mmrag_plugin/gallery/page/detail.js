// ---- one media, large -------------------------------------------------------------------------------

const LARGE_PX = 1600;

const detail = {
  dialog: byId("detail"),
  hit: null,
  among: [],
  opener: null,

  // Open a hit; ``among`` are those that the arrows lead through.
  open(hit, among = [], { play = false } = {}) {
    if (!this.dialog.open) this.opener = document.activeElement;
    this.hit = hit;
    this.among = among;
    this.build(hit);
    if (!this.dialog.open) {
      document.documentElement.dataset.detail = "open";
      this.dialog.showModal();
      if (!page.alone) this.comeNear(this.opener);
    }
    this.dialog.scrollTop = 0;
    (this.player.button || this.title).focus();
    if (play) this.player.play();
    announce(`${nameOf(hit)} ${spanOf(hit)}`.trim());
  },

  // A host shows the whole page in a frame as long as it, and scrolls that: the middle may be far off.
  comeNear(opener) {
    const [edge, tall] = [8, 620];
    const wanted = (opener?.getBoundingClientRect().top ?? 0) - 60;
    const top = Math.max(Math.min(wanted, window.innerHeight - tall), edge);
    this.dialog.style.marginTop = `${top}px`;
    this.dialog.style.maxHeight = `${Math.max(window.innerHeight - top - edge, 320)}px`;
  },

  close() {
    if (this.dialog.open) this.dialog.close();
  },

  closed() {
    if (this.dialog.open) return; // another was opened since
    this.player?.end();
    delete document.documentElement.dataset.detail;
    const { hit, opener } = this;
    const shown = grid.cards.find((one) => one.hit === hit);
    this.dialog.replaceChildren();
    this.hit = this.player = this.known = null;
    if (shown && (opener?.closest?.("#grid") || !opener?.isConnected)) grid.focus(hit);
    else if (opener?.isConnected) opener.focus();
  },

  step(by) {
    const to = this.among[this.among.indexOf(this.hit) + by];
    if (to) this.open(to, this.among);
  },

  build(hit) {
    this.player?.end();
    this.player = makePlayer(hit);
    const at = this.among.indexOf(hit);
    const many = this.among.length > 1;
    const arrow = (name, label, by) => make("button", {
      type: "button", class: "round", "aria-label": label, disabled: !this.among[at + by], on: { click: () => this.step(by) },
    }, icon(name));
    this.title = their("h2", nameOf(hit), { id: "detail-title", tabindex: "-1" });
    this.known = make("div", { class: "known", "aria-busy": "true" });
    this.dialog.replaceChildren(
      make("header", { class: "detail-head" },
        this.title,
        many ? make("span", { class: "place-in", text: `${at + 1} of ${this.among.length}` }) : null,
        many ? arrow("back", "The one before", -1) : null,
        many ? arrow("on", "The next one", 1) : null,
        make("button", { type: "button", class: "round", "aria-label": "Close", on: { click: () => this.close() } }, icon("close"))),
      make("div", { class: "detail-body" },
        this.player.element,
        make("div", { class: "facts" },
          this.lead(hit),
          page.canAskAbout() ? askForm(hit) : null,
          this.known)),
    );
    this.fill(hit, this.known);
  },

  lead(hit) {
    const box = make("div", { class: "lead" });
    const span = spanOf(hit);
    const facts = [dateOf(hit.taken_at, true), plain(hit.place), span && `Moment ${span}`].filter(Boolean);
    if (facts.length) box.append(make("p", { class: "when", dir: "auto", text: facts.join(" · ") }));
    if (hit.reason && !hit.listed) box.append(make("p", { class: "because" }, make("span", { class: "label", text: "Why it was found " }), their("span", hit.reason)));
    if (!hit.listed && hit.confidence) box.append(confidenceMark(hit));
    return box;
  },

  async fill(hit, box) {
    const [known, alike] = await Promise.allSettled([
      page.source.media(hit),
      page.source.can.similar ? page.source.similar(hit) : null,
    ]);
    if (this.known !== box) return; // another was opened meanwhile
    box.removeAttribute("aria-busy");
    if (known.status === "fulfilled" && known.value) box.append(...this.facts(hit, known.value));
    else if (known.reason) box.append(note(failureText(known.reason), "warning"));
    if (alike.status === "fulfilled" && alike.value?.hits.length) box.append(this.alike(alike.value.hits));
  },

  facts(hit, known) {
    const list = make("dl", { class: "file" });
    const add = (label, ...values) => {
      const shown = values.filter(Boolean);
      if (shown.length) list.append(make("div", {}, make("dt", { text: label }), ...shown.map((value) => their("dd", value))));
    };
    add(known.paths.length > 1 ? "Files" : "File", ...known.paths);
    add("Taken", dateOf(known.taken_at, true));
    add("Camera", known.camera);
    add("Size", known.width_px ? `${known.width_px} × ${known.height_px} px` : "");
    add("Length", known.duration_s ? timeOf(known.duration_s) : "");
    const texts = this.texts(known.signals || []);
    return [list, ...(texts ? [texts] : [])];
  },

  texts(signals) {
    if (!signals.length) return null;
    const list = make("ul", { class: "texts", role: "list" });
    for (const signal of signals) {
      const label = `${signal.doubtful ? "doubtful " : ""}${SOURCES[signal.source] || signal.source}`;
      const timed = signal.start_s !== null && signal.start_s !== undefined;
      const time = timed && this.player.canSeek
        ? make("button", { type: "button", class: "time", "aria-label": `Play from ${timeOf(signal.start_s)}`, on: { click: () => this.player.play(signal.start_s) } }, timeOf(signal.start_s))
        : timed ? make("span", { class: "time", text: timeOf(signal.start_s) }) : null;
      list.append(make("li", {}, make("span", { class: "label" }, label, time ? " " : null, time), their("span", signal.text, { class: "text" })));
    }
    return make("section", { "aria-labelledby": "texts-title" }, make("h3", { id: "texts-title", text: "What is known of it" }), list);
  },

  alike(hits) {
    const row = make("ul", { class: "alike", role: "list" });
    for (const hit of hits) {
      const label = `${nameOf(hit)} ${spanOf(hit)}`.trim();
      row.append(make("li", {}, make("button", {
        type: "button", class: "tile", "aria-label": label, title: label, on: { click: () => this.open(hit, hits) },
      }, pictureFrame(hit))));
    }
    return make("section", { "aria-labelledby": "alike-title" }, make("h3", { id: "alike-title", text: "Looks like it" }), row);
  },

  pressed(event) {
    if (event.target.closest("input, textarea, video, select")) return;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight") this.step(1);
    else if (event.key === "ArrowLeft") this.step(-1);
  },
};
detail.dialog.addEventListener("close", () => detail.closed());
detail.dialog.addEventListener("keydown", (event) => detail.pressed(event));
detail.dialog.addEventListener("click", (event) => {
  if (event.target === detail.dialog) detail.close(); // beside the sheet
});

// A photo, or a film that shows its picture until somebody has it play. It begins without sound.
function makePlayer(hit) {
  const frame = pictureFrame(hit, LARGE_PX);
  const screen = make("div", { class: "screen" }, frame);
  const stage = make("div", { class: "large" }, screen);
  if (hit.kind !== "video" || !page.source.can.play) {
    return { element: stage, button: null, canSeek: false, play() {}, end() {} };
  }
  const span = spanOf(hit);
  const button = make("button", { type: "button", class: "play", on: { click: () => player.play() } }, icon("play"), make("span", { text: span ? `Play ${span}` : "Play the film" }));
  const player = {
    element: stage,
    button,
    canSeek: true,
    video: null,
    beginsAt: 0,
    isCopy: false,
    owned: null,

    play(from = hit.start_s ?? 0) {
      if (!this.video) this.begin(from);
      else if (this.holds(from)) this.at(from);
      else this.copied(from);
    },

    // Whether what was loaded goes so far: a copy is of one moment.
    holds(seconds) {
      return !this.isCopy || (seconds >= this.beginsAt && seconds < this.beginsAt + this.video.duration);
    },

    at(seconds) {
      this.stopsAt = null;
      this.video.currentTime = Math.max(seconds - this.beginsAt, 0);
      this.video.play().catch(() => {});
    },

    begin(from) {
      const film = page.source.film(hit);
      this.video = make("video", { controls: true, playsinline: true, preload: "auto", "aria-label": `${nameOf(hit)} ${span}`.trim() });
      this.video.muted = true;
      this.stopsAt = hit.end_s ?? null;
      this.video.addEventListener("timeupdate", () => {
        if (this.stopsAt === null || this.video.currentTime + this.beginsAt < this.stopsAt) return;
        this.stopsAt = null; // the moment is over; whoever plays on sees the rest
        this.video.pause();
      });
      this.video.addEventListener("seeking", () => { if (this.begun) this.stopsAt = null; });
      if (film) this.from(film, from, () => this.copied(from));
      else this.copied(from);
    },

    // Play what lies at an address from a time of the film; ``otherwise`` where that is no film.
    from({ url, beginsAt }, from, otherwise) {
      const { video } = this;
      this.beginsAt = beginsAt;
      video.onerror = () => { video.onerror = null; otherwise(); };
      video.onloadedmetadata = () => {
        if (!video.videoWidth) { video.onerror = null; otherwise(); return; }
        video.currentTime = Math.max(from - beginsAt, 0);
        screen.replaceChildren(video);
        video.focus({ preventScroll: true });
        video.play().catch(() => {}).then(() => { setTimeout(() => { this.begun = true; }, 400); });
      };
      video.src = url;
    },

    async copied(from) {
      button.disabled = true;
      button.lastChild.textContent = "Making a copy that plays here…";
      try {
        const found = await page.source.clip(hit, from);
        if (this.owned) URL.revokeObjectURL(this.owned);
        if (found.url.startsWith("blob:")) this.owned = found.url;
        this.isCopy = true;
        this.from(found, from, () => this.failed(new Failure("This film can't be played here.")));
      } catch (error) {
        this.failed(error);
      }
    },

    failed(error) {
      button.remove();
      this.video = null;
      stage.append(note(failureText(error), "warning"));
      announce(failureText(error));
    },

    end() {
      if (this.video) {
        this.video.onerror = null;
        this.video.pause();
        this.video.removeAttribute("src");
        this.video.load();
      }
      if (this.owned) URL.revokeObjectURL(this.owned);
    },
  };
  screen.append(button);
  return player;
}

function askForm(hit) {
  const field = make("input", { type: "text", id: "about-question", maxlength: "2000", autocomplete: "off", enterkeyhint: "send", placeholder: hit.kind === "video" ? "What happens here?" : "What is this?" });
  const answer = make("div", { class: "about-answer", hidden: true });
  const form = make("div", { class: "about-form" },
    make("label", { class: "label", for: "about-question", text: "Ask about this one" }),
    make("div", { class: "about-line" }, field, make("button", { type: "button", class: "round strong", "aria-label": "Ask about this one", "data-send": true }, icon("send"))),
    answer);
  sends(form, () => {
    const question = field.value.trim() || field.placeholder;
    field.value = "";
    page.askAbout(question, hit, answer);
  });
  return form;
}
