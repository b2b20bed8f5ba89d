// A picture to the model, and what it says: labels with bars, and where the time went.

import { number } from "./format.js";

const STAGES = ["decode", "preprocess", "queue", "inference"];
const TINY = 64;

export class Try {
  #section = document.getElementById("try");
  #drop = document.getElementById("drop");
  #file = document.getElementById("file");
  #answer = document.getElementById("answer");
  #picture = document.getElementById("picture");
  #verdict = document.getElementById("verdict");
  #labels = document.getElementById("labels");
  #timing = document.getElementById("timing");
  #asking = null;
  #address = null;

  constructor() {
    this.#file.addEventListener("change", () => {
      this.#ask(this.#file.files[0]);
      // The same file may be chosen again.
      this.#file.value = "";
    });
    this.#picture.addEventListener("load", () => {
      this.#picture.classList.toggle("tiny", Math.max(this.#picture.naturalWidth, this.#picture.naturalHeight) <= TINY);
    });
    for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
    document.addEventListener("dragover", () => {
      this.#drop.dataset.over = "yes";
    });
    for (const name of ["dragleave", "drop", "dragend"])
      document.addEventListener(name, () => {
        this.#drop.dataset.over = "no";
      });
    document.addEventListener("drop", (event) => this.#ask(event.dataTransfer?.files[0]));
    document.addEventListener("paste", (event) => this.#ask(event.clipboardData?.files[0]));
  }

  get used() {
    return !this.#answer.hidden;
  }

  offer(takesPictures) {
    this.#section.hidden = !takesPictures && !this.used;
  }

  async #ask(file) {
    if (!file || this.#section.hidden) return;
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = URL.createObjectURL(file);
    this.#picture.src = this.#address;
    this.#answer.hidden = false;
    this.#labels.replaceChildren();
    this.#timing.replaceChildren();
    this.#say("Asking…", false);
    try {
      const response = await fetch("/api/v1/frames", {
        method: "POST",
        body: file,
        signal: asking.signal,
        headers: { "content-type": file.type || "application/octet-stream" },
      });
      const answer = await response.json().catch(() => ({}));
      if (asking.signal.aborted) return;
      if (response.ok) this.#show(answer);
      else this.#say(answer.error ?? `The daemon answers ${response.status}.`, true);
    } catch {
      if (!asking.signal.aborted) this.#say("No answer: the connection ended.", true);
    }
  }

  #say(text, failed) {
    this.#verdict.textContent = text;
    this.#verdict.dataset.failed = failed ? "yes" : "no";
  }

  #show(answer) {
    const predictions = answer.predictions ?? [];
    const [first] = predictions;
    this.#say(
      first ? `${first.label ?? first.index}, ${(100 * first.score).toFixed(1)} %` : "The model names nothing.",
      false,
    );
    this.#labels.replaceChildren(
      ...predictions.map((one) => {
        const row = document.createElement("li");
        const [label, score, bar, fill] = ["span", "span", "span", "i"].map((name) => document.createElement(name));
        label.textContent = one.label ?? String(one.index);
        score.textContent = `${(100 * one.score).toFixed(1)} %`;
        bar.className = "bar";
        bar.setAttribute("aria-hidden", "true");
        fill.style.width = `${Math.min(100, Math.max(0, 100 * one.score))}%`;
        bar.append(fill);
        row.append(label, score, bar);
        return row;
      }),
    );
    this.#timing.replaceChildren(
      ...STAGES.filter((stage) => stage in (answer.timing_ms ?? {})).map((stage) => {
        const [box, name, value] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
        name.textContent = stage;
        value.textContent = `${number(answer.timing_ms[stage])} ms`;
        box.append(name, value);
        return box;
      }),
    );
  }
}
