// ---- the gallery's own site, `mmrag browse` -----------------------------------------------------

const loopback = {
  can: { search: true, filters: true, talk: true, similar: true, play: true },
  talkId: null,

  async open() {
    history.replaceState(null, "", location.pathname + location.hash); // the token is spent
    const found = await this.get("/api/library");
    return { library: found.library, overview: found };
  },

  async get(path, asked = {}) {
    const address = new URL(path, location.origin);
    for (const [name, value] of Object.entries(asked)) {
      if (value !== null && value !== undefined && value !== "") address.searchParams.set(name, value);
    }
    const reply = await fetch(address, { credentials: "same-origin" });
    return this.told(reply);
  },

  async told(reply) {
    let told;
    try {
      told = await reply.json();
    } catch {
      throw new Failure("This page is not open any more.", "Run mmrag browse again.");
    }
    if (told.error) throw new Failure(told.error.message, told.error.remedy);
    return told;
  },

  search(asked, after) {
    const { query, ...filters } = asked;
    return this.get("/api/search", { q: query, after: after || "", ...filters });
  },

  facets() {
    return this.get("/api/facets");
  },

  about(hit, what) {
    return `/api/media/${encodeURIComponent(hit.media_id)}/${what}`;
  },

  media(hit) {
    return this.get(`/api/media/${encodeURIComponent(hit.media_id)}`);
  },

  similar(hit) {
    return this.get(this.about(hit, "similar"), { at: pictureTime(hit) });
  },

  async picture(hit, sidePx) {
    const address = new URL(this.about(hit, "picture"), location.origin);
    address.searchParams.set("px", sidePx);
    const at = pictureTime(hit);
    if (at !== null) address.searchParams.set("at", at);
    return address.href;
  },

  // Where a film can be had: as it is, and a small copy of the moment where a browser can't play it.
  film(hit) {
    return { url: this.about(hit, "film"), beginsAt: 0 };
  },

  async clip(hit, from) {
    const address = new URL(this.about(hit, "clip"), location.origin);
    address.searchParams.set("start", from);
    if (hit.end_s > from) address.searchParams.set("end", hit.end_s);
    const reply = await fetch(address, { credentials: "same-origin" });
    if (!reply.ok) await this.told(reply);
    return { url: URL.createObjectURL(await reply.blob()), beginsAt: from };
  },

  async ready() {
    const told = await this.get("/api/answers");
    return told.ready ? null : new Failure(told.error.message, told.error.remedy);
  },

  newTalk() {
    this.talkId = null;
  },

  // Ask, and hear the answer piece by piece; resolves with what stands beside it.
  async ask(message, about, { onPiece, signal }) {
    this.talkId ??= crypto.randomUUID();
    const reply = await fetch(`/api/talks/${this.talkId}`, {
      method: "POST",
      credentials: "same-origin",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ message, about: about && { media_id: about.media_id, start_s: about.start_s, end_s: about.end_s } }),
      signal,
    });
    if (!reply.ok) await this.told(reply);
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      held += value;
      const lines = held.split("\n");
      held = lines.pop();
      for (const line of lines) {
        const told = JSON.parse(line);
        if (told.type === "piece") onPiece(told.text);
        else if (told.type === "error") throw new Failure(told.error.message, told.error.remedy);
        else return told;
      }
    }
    throw new Failure("The answer broke off.", "Ask again.");
  },
};
