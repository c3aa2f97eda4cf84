(() => {
  const data = JSON.parse(document.getElementById("field-data").textContent);
  const [rows, columns] = data.side, n = data.points.length;
  // One byte for every pair of points i < j, row by row: 127 times the cosine, signed.
  const cosine = (bytes, i, j) => {
    if (i === j) return 1;
    const a = Math.min(i, j), b = Math.max(i, j);
    return bytes[a * n - a * (a + 1) / 2 + b - a - 1] / 127;
  };
  const fields = [...document.querySelectorAll(".field canvas")].map((canvas) => {
    const small = document.createElement("canvas");
    small.width = columns;
    small.height = rows;
    const bytes = Int8Array.from(atob(data.cosines[canvas.dataset.kind]), (c) => c.charCodeAt(0));
    return { canvas, small, bytes };
  });
  const show = (chosen) => {
    for (const { canvas, small, bytes } of fields) {
      const heat = new ImageData(columns, rows);
      data.points.forEach((cell, i) => {
        const value = cosine(bytes, chosen, i);
        const colour = value > 0 ? data.colours.more : data.colours.less;
        heat.data.set([...colour, Math.round(255 * Math.abs(value))], 4 * cell);
      });
      small.getContext("2d").putImageData(heat, 0, 0);
      // The middles of the outermost points lie on the edges of the picture.
      const context = canvas.getContext("2d");
      const x = canvas.width / (columns - 1), y = canvas.height / (rows - 1);
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.drawImage(small, -x / 2, -y / 2, columns * x, rows * y);
      context.beginPath();
      context.arc((data.points[chosen] % columns) * x, Math.floor(data.points[chosen] / columns) * y, x / 2, 0, 7);
      context.lineWidth = 2;
      context.strokeStyle = "#1c2126";
      context.stroke();
    }
  };
  const nearest = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const column = (event.clientX - box.left) / box.width * (columns - 1);
    const row = (event.clientY - box.top) / box.height * (rows - 1);
    let best = 0, least = Infinity;
    data.points.forEach((cell, i) => {
      const distance = (cell % columns - column) ** 2 + (Math.floor(cell / columns) - row) ** 2;
      if (distance < least) [best, least] = [i, distance];
    });
    return best;
  };
  for (const { canvas } of fields) {
    for (const kind of ["pointermove", "pointerdown"]) canvas.addEventListener(kind, (event) => show(nearest(event)));
  }
  for (const button of document.querySelectorAll(".buttons button")) {
    button.addEventListener("click", () => show(Number(button.dataset.point)));
  }
  document.getElementById("field").hidden = false;
  show(Number((document.querySelector(".buttons button") || { dataset: { point: 0 } }).dataset.point));
})();
