// Painting: grey pictures become spectrograms in the theme's colours, bytes become waveforms.

const DIFFERENCE_DB = 24; // what the strongest colours of a difference stand for

function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function channelsOf(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

// 256 colours along stops that are spaced evenly.
function rampOf(stops) {
  const colours = stops.map((name) => channelsOf(colourOf(name)));
  return Array.from({ length: 256 }, (_, level) => {
    const place = (level / 255) * (colours.length - 1);
    const below = Math.min(Math.floor(place), colours.length - 2);
    return colours[below].map((value, part) => value + (colours[below + 1][part] - value) * (place - below));
  });
}

// The grey levels of a picture, once it is decoded.
async function greysOf(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const levels = new Uint8Array(data.length / 4);
  for (let index = 0; index < levels.length; index += 1) levels[index] = data[4 * index];
  return { width: canvas.width, height: canvas.height, levels };
}

// `level(index)` gives each pixel's place on the ramp, 0 to 255.
function paintPicture(canvas, size, ramp, level) {
  canvas.width = size.width;
  canvas.height = size.height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(size.width, size.height);
  for (let index = 0; index < size.width * size.height; index += 1) {
    const [red, green, blue] = ramp[level(index)];
    image.data.set([red, green, blue, 255], 4 * index);
  }
  context.putImageData(image, 0, 0);
}

function paintSpectrum(canvas, greys) {
  const ramp = rampOf(["--level-0", "--level-1", "--level-2", "--level-3", "--level-4"]);
  paintPicture(canvas, greys, ramp, (index) => greys.levels[index]);
}

// What a sound has more (one colour) and less (the other) than the original, cell by cell.
function paintDifference(canvas, greys, original) {
  const ramp = rampOf(["--less-2", "--less-1", "--level-0", "--more-1", "--more-2"]);
  const scale = ((page.range_db / 252) * 127.5) / DIFFERENCE_DB;
  paintPicture(canvas, greys, ramp, (index) => {
    const place = Math.round(127.5 + scale * (greys.levels[index] - original.levels[index]));
    return Math.min(Math.max(place, 0), 255);
  });
}

// The outline: lowest and highest sample of each column by turns, as signed bytes.
function paintOutline(canvas, base64) {
  const ends = new Int8Array(bytesOf(base64).buffer);
  canvas.width = ends.length;
  canvas.height = 128;
  const context = canvas.getContext("2d");
  context.fillStyle = colourOf("--wave");
  for (let column = 0; column < ends.length / 2; column += 1) {
    const high = Math.max(ends[2 * column + 1], 0.6);
    const low = Math.min(ends[2 * column], -0.6);
    context.fillRect(2 * column, 64 - high / 2, 2, (high - low) / 2);
  }
}
