// ---- pictures and the grid ------------------------------------------------------------------------

const THUMBNAIL_PX = 320;

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    entry.target.load?.();
  }
}, { rootMargin: "400px" });

// A frame that gets its picture once it comes near the window; its name stands beside it in words.
function pictureFrame(hit, sidePx = THUMBNAIL_PX) {
  const frame = make("span", { class: "frame" });
  frame.load = async () => {
    try {
      frame.append(await shownPicture(await page.source.picture(hit, sidePx)));
      frame.dataset.shown = "yes";
    } catch {
      frame.dataset.shown = "gone";
      frame.append(icon("gone"));
    }
  };
  seen.observe(frame);
  return frame;
}

async function shownPicture(url) {
  const image = make("img", { alt: "", decoding: "async", draggable: "false" });
  try {
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = reject;
      image.src = url;
    });
    return image;
  } catch (error) {
    if (!url.startsWith("data:")) throw error;
    return paintedPicture(url); // a host that allows no data: pictures
  }
}

async function paintedPicture(url) {
  const bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (char) => char.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
  const canvas = make("canvas", { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas;
}

function metaLine(hit) {
  const line = make("span", { class: "meta" });
  for (const text of [dateOf(hit.taken_at), plain(hit.place)]) {
    if (text) line.append(make("span", { dir: "auto", text }));
  }
  return line;
}

// One hit as a button: everything that it says is text, so that it reads as a sentence.
function card(hit, onOpen) {
  const span = spanOf(hit);
  const frame = pictureFrame(hit);
  const isFilm = hit.kind === "video";
  const badge = isFilm ? make("span", { class: "badge" }, icon("video"), make("span", { class: "unseen", text: "film " }), span || timeOf(hit.duration_s ?? 0)) : null;
  const button = make(
    "button",
    { type: "button", class: "card", on: { click: () => onOpen(hit) } },
    make("span", { class: "stage" }, frame, badge),
    make(
      "span",
      { class: "words" },
      their("span", nameOf(hit), { class: "name", title: plain(hit.path) }),
      metaLine(hit),
      hit.reason && !hit.listed ? their("span", hit.reason, { class: "why" }) : null,
      hit.alike?.length ? make("span", { class: "meta", text: `and ${hit.alike.length} much like it` }) : null,
      hit.hidden ? make("span", { class: "meta", text: "hidden from assistants" }) : null,
      hit.listed ? null : confidenceMark(hit),
    ),
  );
  button.hit = hit;
  return button;
}

// The grid: one stop for Tab, arrow keys within.
const grid = {
  list: byId("grid"),

  get cards() {
    return [...this.list.querySelectorAll(".card")];
  },

  show(hits, onOpen, { adding = false } = {}) {
    if (!adding) this.list.replaceChildren();
    const before = this.cards.length;
    this.list.append(...hits.map((hit) => make("li", {}, card(hit, onOpen))));
    if (!adding) this.rove(this.cards[0]);
    else for (const one of this.cards.slice(before)) one.tabIndex = -1;
    return this.cards[before];
  },

  rove(chosen) {
    for (const one of this.cards) one.tabIndex = one === chosen ? 0 : -1;
  },

  focus(hit) {
    const found = this.cards.find((one) => one.hit === hit) || this.cards[0];
    if (!found) return;
    this.rove(found);
    found.focus();
  },

  columns() {
    const cards = this.cards;
    const first = cards[0]?.offsetTop;
    const end = cards.findIndex((one) => one.offsetTop !== first);
    return end < 0 ? cards.length : end;
  },

  pressed(event) {
    const at = this.cards.indexOf(event.target.closest?.(".card"));
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const count = this.cards.length;
    const to = {
      ArrowRight: at + 1,
      ArrowLeft: at - 1,
      ArrowDown: at + this.columns(),
      ArrowUp: at - this.columns(),
      Home: 0,
      End: count - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0 || to >= count) return;
    this.rove(this.cards[to]);
    this.cards[to].focus();
  },
};
grid.list.addEventListener("keydown", (event) => grid.pressed(event));
grid.list.addEventListener("focusin", (event) => {
  const found = event.target.closest(".card");
  if (found) grid.rove(found);
});
