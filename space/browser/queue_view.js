// The list of pictures: what each is at, to be selected or removed.

const WORDS = {
  waiting: "Waiting",
  reading: "Reading …",
  colorizing: "Colorizing …",
  done: "In color",
  failed: "Not colorized",
};
const PROGRESS = { reading: 0.1, colorizing: null };

export class QueueView {
  #list;
  #onSelect;
  #onRemove;
  #items = new Map();

  constructor(list, { onSelect, onRemove }) {
    this.#list = list;
    this.#onSelect = onSelect;
    this.#onRemove = onRemove;
  }

  /** The button that selects a picture. */
  buttonOf(picture) {
    return this.#items.get(picture)?.button;
  }

  show(pictures, selected) {
    for (const [picture, { item }] of this.#items) {
      if (!pictures.includes(picture)) {
        item.remove();
        this.#items.delete(picture);
      }
    }
    for (const picture of pictures) {
      if (!this.#items.has(picture)) this.#items.set(picture, this.#made(picture));
      this.#bring(picture, this.#items.get(picture), picture === selected);
    }
  }

  #made(picture) {
    const item = document.createElement("li");
    const button = element("button", "picture", item);
    button.type = "button";
    button.addEventListener("click", () => this.#onSelect(picture));
    const parts = { item, button, face: element("span", "empty", button) };
    element("span", "title", button).textContent = picture.file.name;
    parts.state = element("span", "state", button);
    parts.progress = element("progress", "", button);
    parts.progress.setAttribute("aria-label", `Progress of ${picture.file.name}`);
    const remove = element("button", "remove", item);
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `Remove ${picture.file.name}`);
    remove.addEventListener("click", () => this.#onRemove(picture));
    this.#list.append(item);
    return parts;
  }

  #bring(picture, parts, isSelected) {
    const { state, thumbnail } = picture;
    parts.item.className = state;
    parts.button.setAttribute("aria-current", String(isSelected));
    parts.state.textContent = WORDS[state];
    parts.progress.hidden = !(state in PROGRESS);
    if (PROGRESS[state]) parts.progress.value = PROGRESS[state];
    else parts.progress.removeAttribute("value");
    if (state === "failed") parts.face.textContent = "!";
    if (thumbnail && parts.drawn !== thumbnail) {
      const canvas = document.createElement("canvas");
      canvas.setAttribute("aria-hidden", "true");
      canvas.width = thumbnail.width;
      canvas.height = thumbnail.height;
      canvas.getContext("2d").drawImage(thumbnail, 0, 0);
      parts.face.replaceWith(canvas);
      Object.assign(parts, { face: canvas, drawn: thumbnail });
    }
  }
}

function element(name, className, parent) {
  const made = document.createElement(name);
  if (className) made.className = className;
  parent.append(made);
  return made;
}
