// Keeps the dropped images in the page and requests an answer after each change. No file is uploaded.
// Gradio provides element (the rendered drop.html), props (the values of the component) and trigger (reports a change).
const zone = element.querySelector(".qcs-drop");
const input = zone.querySelector("input");
const problem = element.querySelector(".qcs-problem");
const chosen = element.querySelector(".qcs-chosen");
let images = [];

const read = (file) =>
  new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done({ name: file.name, data: reader.result });
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(file);
  });

function wrongWith(file, taken) {
  if (taken >= props.most_images) return `${file.name}: at most ${props.most_images} images; remove one first.`;
  if (file.size > props.megabytes * 2 ** 20) return `${file.name} is larger than ${props.megabytes} MB; shrink it or choose another.`;
  return null;
}

async function add(files) {
  const more = [...images];
  const refused = [];
  for (const file of files) {
    const wrong = wrongWith(file, more.length);
    if (wrong) refused.push(wrong);
    else await read(file).then((image) => more.push(image), () => refused.push(`${file.name} cannot be read.`));
  }
  say(refused.join(" "));
  if (more.length > images.length) show(more);
}

function say(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

function show(changed) {
  images = props.value = changed;
  chosen.replaceChildren(...images.map(entry));
  trigger("submit");
}

// Names are set as text, not HTML: they come from files.
function entry(image, at) {
  const item = document.createElement("li");
  const picture = Object.assign(document.createElement("img"), { src: image.data, alt: "" });
  const name = Object.assign(document.createElement("span"), { textContent: image.name, title: image.name });
  const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
  remove.setAttribute("aria-label", `Remove ${image.name}`);
  remove.addEventListener("click", () => {
    say("");
    show(images.filter((_, other) => other !== at));
  });
  item.append(picture, name, remove);
  return item;
}

input.addEventListener("change", async () => {
  await add([...input.files]);
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
