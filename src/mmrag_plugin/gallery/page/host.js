// ---- an assistant that shows this page beside its conversation: an MCP App ------------------------
// JSON-RPC over postMessage, as of the MCP Apps specification of 2026-01-26. Only the parent window
// is heard, and its words are data: they are shown as text, and choose no address.

const PROTOCOL = "2026-01-26";
const READS_AT_ONCE = 4;

const host = {
  can: { search: false, filters: false, talk: false, similar: false, play: false },
  offers: {},
  told: {},
  made: null,
  calls: new Map(),
  lastId: 0,
  listeners: {},
  reading: 0,
  waiting: [],

  async open() {
    window.addEventListener("message", (event) => this.heard(event));
    const told = await this.request("ui/initialize", {
      protocolVersion: PROTOCOL,
      appInfo: { name: "mmrag gallery", version: "1.0.0" },
      appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
    });
    this.offers = told.hostCapabilities || {};
    const tools = Boolean(this.offers.serverTools);
    this.can = { search: tools, filters: false, talk: false, similar: tools, play: Boolean(this.offers.serverResources) };
    this.context(told.hostContext || {});
    this.send({ method: "ui/notifications/initialized", params: {} });
    new ResizeObserver(() => this.tellSize()).observe(document.body);
    return { library: "", overview: null };
  },

  on(method, listener) {
    this.listeners[method] = listener;
  },

  send(message) {
    window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*"); // the host's origin is unknown
  },

  request(method, params) {
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.calls.set(id, { resolve, reject });
      this.send({ id, method, params });
    });
  },

  heard(event) {
    const message = event.data;
    if (event.source !== window.parent || !message || message.jsonrpc !== "2.0") return;
    if (message.method === undefined) {
      const call = this.calls.get(message.id);
      this.calls.delete(message.id);
      if (call && message.error) call.reject(new Failure(message.error.message || "The assistant refused."));
      else if (call) call.resolve(message.result || {});
    } else if (message.method === "ui/notifications/host-context-changed") {
      this.context(message.params || {});
    } else if (message.id !== undefined) {
      const known = ["ping", "ui/resource-teardown"].includes(message.method);
      this.send(known ? { id: message.id, result: {} } : { id: message.id, error: { code: -32601, message: "Not known here." } });
      if (message.method === "ui/resource-teardown") this.listeners.teardown?.();
    } else {
      this.listeners[message.method]?.(message.params || {});
    }
  },

  context(told) {
    Object.assign(this.told, told);
    const root = document.documentElement;
    if (told.theme === "light" || told.theme === "dark") root.dataset.theme = told.theme;
    if (typeof told.locale === "string") page.setLocale(told.locale);
    for (const [name, value] of Object.entries(told.styles?.variables || {})) {
      if (/^--[a-z0-9-]+$/.test(name) && typeof value === "string") root.style.setProperty(name, value);
    }
  },

  tellSize() {
    const { width, height } = document.body.getBoundingClientRect();
    this.send({ method: "ui/notifications/size-changed", params: { width: Math.ceil(width), height: Math.ceil(height) } });
  },

  async tool(name, asked) {
    const given = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== null && value !== undefined && value !== ""));
    const result = await this.request("tools/call", { name, arguments: given });
    if (result.isError) throw new Failure(wordsOf(result));
    return result;
  },

  // A resource as a data: address, few at a time, so that a page of pictures leaves room for a search.
  async resource(uri) {
    if (this.reading >= READS_AT_ONCE) await new Promise((resolve) => this.waiting.push(resolve));
    this.reading += 1;
    try {
      const told = await this.request("resources/read", { uri });
      const found = told.contents?.[0];
      const kind = String(found?.mimeType || "");
      if (!found?.blob || !/^(image\/jpeg|video\/mp4)$/.test(kind)) throw new Failure("There is no picture.");
      return `data:${kind};base64,${found.blob}`;
    } finally {
      this.reading -= 1;
      this.waiting.shift()?.();
    }
  },

  // A search of the person's own, or the next page of the call that was made: with its arguments.
  async search(asked, cursor) {
    if (!cursor) this.made = { name: "search_media", asked: { query: asked.query } };
    return hitsOf(await this.tool(this.made.name, { ...this.made.asked, cursor }));
  },

  // Note which call the page shows; a host that does not say which tool it was is told by its arguments.
  madeBy(asked) {
    const name = this.told.toolInfo?.tool?.name;
    this.made = { name: name || (asked.query ? "search_media" : "find_similar"), asked };
  },

  async media(hit) {
    return (await this.tool("get_media", { media_id: hit.media_id })).structuredContent;
  },

  async similar(hit) {
    const at = pictureTime(hit);
    return hitsOf(await this.tool("find_similar", { media_id: hit.media_id, at: at === null ? null : exact(at) }));
  },

  picture(hit, sidePx) {
    const id = encodeURIComponent(hit.media_id);
    const at = pictureTime(hit);
    if (at === null && sidePx <= THUMBNAIL_PX) return this.resource(`mmrag://media/${id}/thumbnail`);
    return this.resource(`mmrag://media/${id}/frame/${exact(at ?? 0)}`); // of a photo: a larger picture
  },

  film() {
    return null;
  },

  async clip(hit, from) {
    const span = hit.end_s > from ? `${exact(from)}-${exact(hit.end_s)}` : exact(from);
    const url = await this.resource(`mmrag://media/${encodeURIComponent(hit.media_id)}/clip/${span}`);
    return { url, beginsAt: from };
  },

  // Ask about one: in the host's own conversation where it takes messages, else of the vision model.
  async askAbout(question, hit) {
    const span = spanOf(hit);
    if (this.offers.message) {
      const text = `About ${hit.kind} ${hit.media_id}${span ? ` at ${span}` : ""} of my library: ${question}`;
      const told = await this.request("ui/message", { role: "user", content: [{ type: "text", text }] });
      if (told.isError) throw new Failure("The assistant did not take the question.");
      return { handedOn: true };
    }
    const asked = { media_id: hit.media_id, question };
    if (span) Object.assign(asked, { start: exact(hit.start_s), end: exact(hit.end_s ?? hit.start_s) });
    return { answer: (await this.tool("describe_media", asked)).structuredContent.answer };
  },
};

// Seconds to the millisecond, never beyond the end that they were rounded from.
const exact = (seconds) => (Math.floor(seconds * 1000) / 1000).toFixed(3);

function wordsOf(result) {
  const said = (result.content || []).filter((part) => part.type === "text").map((part) => part.text);
  return said.join("\n") || "That did not work.";
}

// A hit as the page takes it: what goes without saying is left out on the wire.
const whole = (hit) => ({ start_s: null, end_s: null, taken_at: null, ...hit });

function hitsOf(result) {
  const found = result.structuredContent || {};
  return {
    hits: (found.hits || []).map(whole),
    understood: found.understood || "",
    count: found.count ?? null,
    warnings: found.warnings || [],
    next: found.next_cursor || null,
  };
}
