// Before and after under one slider.

export class Comparison {
  #figure;
  #slider;

  constructor(figure) {
    this.#figure = figure;
    this.#slider = figure.querySelector("input");
    this.#slider.addEventListener("input", () => this.#move());
    new ResizeObserver(() => this.#fit()).observe(figure.parentElement);
    this.#move();
  }

  /** Shows two ImageBitmaps of one size, of the picture of that name. */
  show(before, after, name) {
    for (const [id, bitmap, words] of [
      ["before", before, "before"],
      ["after", after, "in color"],
    ]) {
      const canvas = this.#figure.querySelector(`#${id}`);
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      canvas.setAttribute("aria-label", `${name} ${words}`);
    }
    this.#figure.hidden = false;
    this.#fit();
  }

  #move() {
    const share = Number(this.#slider.value);
    this.#figure.style.setProperty("--shown", `${share}%`);
    this.#slider.setAttribute("aria-valuetext", `${share} % before, ${100 - share} % in color`);
  }

  /** As large as the stage allows; small pictures are enlarged to at most twice their size. */
  #fit() {
    const { width, height } = this.#figure.querySelector("#before");
    const stage = this.#figure.parentElement;
    const style = getComputedStyle(stage);
    const room = stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const isFree = matchMedia("(max-width: 820px)").matches; // there the stage is as high as its picture
    const tall = isFree
      ? window.innerHeight * 0.62
      : stage.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    const scale = Math.min(room / width, tall / height, 2);
    if (!(scale > 0)) return;
    this.#figure.style.setProperty("width", `${Math.floor(width * scale)}px`);
    this.#figure.style.setProperty("height", `${Math.floor(height * scale)}px`);
  }
}
