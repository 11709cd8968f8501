"use strict";
(() => {
  const nearestOf = (count, distance) => {
    let best = 0;
    for (let index = 1; index < count; index += 1) if (distance(index) < distance(best)) best = index;
    return best;
  };

  /* A curve: its reading follows the pointer or the arrow keys, and rests at the end. */
  for (const figure of document.querySelectorAll("[data-chart]")) {
    const data = JSON.parse(figure.dataset.chart);
    const svg = figure.querySelector("svg"), output = figure.querySelector("output");
    const cursor = figure.querySelector(".cursor"), mark = figure.querySelector(".mark");
    const last = data.x.length - 1;
    let place = last;
    const show = (index, reading) => {
      place = index;
      cursor.setAttribute("x1", data.px[index]);
      cursor.setAttribute("x2", data.px[index]);
      mark.setAttribute("cx", data.px[index]);
      mark.setAttribute("cy", data.py[index]);
      output.textContent = reading ? `step ${data.x[index].toLocaleString("en")}: ${data.text[index]}` : data.text[index];
      figure.classList.toggle("reading", reading);
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      show(nearestOf(data.px.length, (index) => Math.abs(data.px[index] - x)), true);
    });
    svg.addEventListener("pointerleave", () => show(last, false));
    svg.addEventListener("blur", () => show(last, false));
    svg.addEventListener("keydown", (event) => {
      const next = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      show(Math.min(Math.max(next, 0), last), true);
    });
  }

  /* The map: the image under the pointer, and what lies nearest to it in all dimensions. */
  const plot = document.querySelector("[data-plot]");
  if (!plot) return;
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const svg = plot.querySelector("svg"), card = plot.querySelector(".card"), ring = plot.querySelector(".ring");
  const points = [...svg.querySelectorAll("circle:not(.ring)")];
  let places = Object.values(data.maps)[0], shown = -1, only = null;

  const thumbnail = (image) => {
    const picture = document.createElement("i");
    picture.className = "thumb";
    picture.style.setProperty("--x", image % data.columns);
    picture.style.setProperty("--y", Math.floor(image / data.columns));
    return picture;
  };
  const line = (kind, words) => {
    const element = document.createElement(kind);
    element.textContent = words;
    return element;
  };
  const mark = (image, on) => {
    for (const near of image < 0 ? [] : data.neighbors[image]) points[near].classList.toggle("near", on);
  };
  const hide = () => {
    mark(shown, false);
    shown = -1;
    card.hidden = true;
    ring.setAttribute("cx", -50);
  };
  const show = (image) => {
    if (image === shown) return;
    mark(shown, false);
    shown = image;
    mark(image, true);
    const [x, y] = places[image], frame = svg.viewBox.baseVal, box = svg.getBoundingClientRect();
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    const strip = document.createElement("div");
    strip.className = "strip";
    strip.append(...data.neighbors[image].map(thumbnail));
    const name = data.labels[image] < 0 ? [] : [line("b", data.classes[data.labels[image]])];
    card.replaceChildren(thumbnail(image), ...name, line("span", data.names[image]), strip);
    card.hidden = false;
    const left = x / frame.width * box.width, top = y / frame.height * box.height, gap = 18;
    const across = left + gap + card.offsetWidth < box.width ? left + gap : left - gap - card.offsetWidth;
    const down = Math.min(Math.max(top - card.offsetHeight / 2, 6), box.height - card.offsetHeight - 6);
    card.style.transform = `translate(${Math.max(across, 4)}px, ${Math.max(down, 4)}px)`;
  };
  const visible = (image) => only === null || data.labels[image] === only;
  const pointed = (event) => {
    const box = svg.getBoundingClientRect(), frame = svg.viewBox.baseVal;
    const x = (event.clientX - box.left) / box.width * frame.width;
    const y = (event.clientY - box.top) / box.height * frame.height;
    const far = (image) => visible(image) ? (places[image][0] - x) ** 2 + (places[image][1] - y) ** 2 : Infinity;
    const image = nearestOf(places.length, far);
    if (far(image) < (30 / box.width * frame.width) ** 2) show(image);
    else hide();
  };
  svg.addEventListener("pointermove", pointed);
  svg.addEventListener("pointerdown", pointed);
  svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (event.key === "Escape") hide();
    if (step === undefined) return;
    event.preventDefault();
    let image = shown;
    do image = (image + step + points.length) % points.length; while (!visible(image));
    show(image);
  });

  const press = (buttons, chosen) => buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === chosen)));
  const projections = [...document.querySelectorAll("[data-map]")];
  for (const button of projections) {
    button.addEventListener("click", () => {
      hide();
      press(projections, button);
      places = data.maps[button.dataset.map];
      points.forEach((point, image) => {
        point.setAttribute("cx", places[image][0]);
        point.setAttribute("cy", places[image][1]);
      });
    });
  }
  const classes = [...document.querySelectorAll("[data-class]")];
  for (const button of classes) {
    button.addEventListener("click", () => {
      hide();
      const label = Number(button.dataset.class);
      only = only === label ? null : label;
      press(classes, only === null ? null : button);
      points.forEach((point, image) => point.classList.toggle("faint", !visible(image)));
    });
  }
})();
