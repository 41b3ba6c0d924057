// ---- elements and texts -----------------------------------------------------------------------
// All text goes into text nodes, so nothing that stands in a file's name or caption is ever markup.

const SVG = "http://www.w3.org/2000/svg";
const CONFIDENCE = {
  strong: { label: "strong match", bars: 3 },
  weak: { label: "possible match", bars: 2 },
  none: { label: "unlikely match", bars: 1 },
};
const SOURCES = {
  annotation: "described as",
  caption: "caption by a model",
  ocr: "text in the picture",
  subtitle: "subtitle",
  speech: "said",
  path: "folder or file name",
  exif: "date, place or camera",
};
// Characters that show nothing and turn the text around them: a name must not look like another.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Have Enter in a field, or its button, send it. No form does: hosts that show the page allow none.
function sends(box, send) {
  box.addEventListener("click", (event) => { if (event.target.closest("[data-send]")) send(); });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || !event.target.matches("input, textarea")) return;
    event.preventDefault();
    send();
  });
}

function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

const plain = (text) => String(text ?? "").replace(HIDDEN, "\ufffd");
const their = (tag, text, attributes = {}) => make(tag, { dir: "auto", ...attributes, text: plain(text) });

const parts = (path) => String(path ?? "").split(/[\\/]/).filter(Boolean);
const nameOf = (hit) => plain(parts(hit.path).at(-1) || hit.media_id);
const folderOf = (hit) => plain(parts(hit.path).at(-2) || "");

// A date as the camera's clock had it: whatever offset stands behind it, the day was that day.
function dateOf(takenAt, withTime = false) {
  const found = /^(\d{4})-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d))?)?/.exec(takenAt || "");
  if (!found) return "";
  const [, year, month, day, hour, minute] = found.map(Number);
  if (!day) return new Intl.DateTimeFormat(page.locale, { year: "numeric", month: "long" }).format(new Date(year, month - 1, 1));
  const style = { dateStyle: "medium", ...(withTime && found[4] ? { timeStyle: "short" } : {}) };
  return new Intl.DateTimeFormat(page.locale, style).format(new Date(year, month - 1, day, hour || 0, minute || 0));
}

function timeOf(seconds) {
  const whole = Math.max(Math.floor(Number(seconds) + 1e-6), 0);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function spanOf(hit) {
  if (hit.kind !== "video" || hit.start_s === null || hit.start_s === undefined) return "";
  return `${timeOf(hit.start_s)}–${timeOf(hit.end_s ?? hit.start_s)}`;
}

// The time of the picture that stands for a hit; none for a photo.
function pictureTime(hit) {
  if (hit.at_s !== null && hit.at_s !== undefined) return hit.at_s;
  if (hit.start_s === null || hit.start_s === undefined) return null;
  return (hit.start_s + (hit.end_s ?? hit.start_s)) / 2;
}

function confidenceMark(hit) {
  const known = CONFIDENCE[hit.confidence];
  if (!known) return null;
  const bars = make("span", { class: "bars", "data-bars": known.bars, "aria-hidden": "true" }, make("i"), make("i"), make("i"));
  return make("span", { class: "confidence" }, bars, make("span", { text: known.label }));
}

function announce(text, place = "status") {
  const region = byId(place);
  region.textContent = "";
  setTimeout(() => { region.textContent = text; }, 50);
}

// What went wrong, in the program's words: an error of the family, or one of the browser's own.
class Failure extends Error {
  constructor(message, remedy = "") {
    super(message);
    this.remedy = remedy;
  }
}

function failureText(error) {
  if (error instanceof Failure) return plain(`${error.message} ${error.remedy}`.trim());
  return "The gallery can't be reached. Is it still running?";
}

function note(text, kind = "note") {
  return make("p", { class: kind, dir: "auto", text: plain(text) });
}
