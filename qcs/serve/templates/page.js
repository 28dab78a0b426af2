// Keeps the images in the page and requests an answer after each change. The server stores nothing.
const $ = (selector) => document.querySelector(selector);
const limits = document.body.dataset;
const zone = $(".qcs-drop");
const input = zone.querySelector("input");
const problem = $(".qcs-problem");
const answer = $("#answer");
const LONGEST_NAME = 100;
let images = []; // files, and addresses at which the browser shows them
let asking = new AbortController();

function wrongWith(file, taken) {
  if (taken >= limits.mostImages) return `${file.name}: at most ${limits.mostImages} images; remove one first.`;
  if (file.size > limits.megabytes * 2 ** 20) return `${file.name} is larger than ${limits.megabytes} MB; shrink it or choose another.`;
  return null;
}

function add(files) {
  const more = [...images];
  const refused = [];
  for (const file of files) {
    const wrong = wrongWith(file, more.length);
    if (wrong) refused.push(wrong);
    else more.push({ file, shown: URL.createObjectURL(file) });
  }
  say(refused.join(" "));
  if (more.length > images.length) show(more);
}

function say(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

function show(changed) {
  images = changed;
  $(".qcs-chosen").replaceChildren(...images.map(entry));
  ask();
}

// Names are set as text, not HTML: they come from files.
function entry(image, at) {
  const item = document.createElement("li");
  const picture = Object.assign(document.createElement("img"), { src: image.shown, alt: "" });
  const name = Object.assign(document.createElement("span"), { textContent: image.file.name, title: image.file.name });
  const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
  remove.setAttribute("aria-label", `Remove ${image.file.name}`);
  remove.addEventListener("click", () => {
    say("");
    URL.revokeObjectURL(image.shown);
    show(images.filter((_, other) => other !== at));
  });
  item.append(picture, name, remove);
  return item;
}

// The body is the files one after another; their names and sizes are in the query. Without names of faces, the server
// chooses. The server escapes every value in its answer.
async function ask(faces = []) {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  if (!images.length) return answer.replaceChildren();
  const query = new URLSearchParams({ cropped: $("#cropped").checked });
  for (const { file } of images) {
    query.append("name", [...file.name].slice(0, LONGEST_NAME).join(""));
    query.append("size", file.size);
  }
  for (const face of faces) query.append("face", face);
  answer.setAttribute("aria-busy", "true");
  try {
    const body = new Blob(images.map(({ file }) => file), { type: "application/octet-stream" });
    const response = await fetch(`answer?${query}`, { method: "POST", body, signal });
    const html = await response.text();
    if (!html) throw new Error(`status ${response.status}`);
    answer.innerHTML = html;
  } catch (error) {
    if (signal.aborted) return;
    answer.replaceChildren();
    say(`The server did not answer (${error.message}). Is it still running?`);
  }
  answer.removeAttribute("aria-busy");
}

input.addEventListener("change", () => {
  add([...input.files]);
  input.value = ""; // allows choosing the same file again
});
for (const name of ["dragenter", "dragover"])
  zone.addEventListener(name, (event) => {
    event.preventDefault();
    zone.classList.add("qcs-over");
  });
for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("qcs-over"));
zone.addEventListener("drop", (event) => {
  event.preventDefault();
  add([...event.dataTransfer.files]);
});
$("#cropped").addEventListener("change", () => ask());
$("#samples").addEventListener("click", async (event) => {
  const names = event.target.dataset.files.split(" ");
  const contents = await Promise.all(names.map(async (name) => (await fetch(`samples/${name}`)).blob()));
  images.forEach(({ shown }) => URL.revokeObjectURL(shown));
  images = [];
  add(contents.map((content, at) => new File([content], names[at], { type: "image/png" })));
});
answer.addEventListener("change", (event) => {
  const chosen = [...answer.querySelectorAll("input:checked")].map(({ value }) => value);
  const tooMany = chosen.length > limits.mostFaces;
  say(tooMany ? `At most ${limits.mostFaces} faces are compared; clear one first.` : "");
  if (tooMany || !chosen.length) event.target.checked = !event.target.checked;
  else ask(chosen);
});
