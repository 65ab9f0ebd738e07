// From the page's text to sound: FLAC in base64 to buffers, and the level that each is played at.

const LEVEL_TOLERANCE = 0.5; // dB
const page = JSON.parse(document.getElementById("data").textContent);

// Decode all sounds of an excerpt. At the page's own rate, so that nothing is resampled.
async function decodeSounds(sounds) {
  const decoder = new OfflineAudioContext(1, 1, page.rate);
  return Promise.all(sounds.map((sound) => decoder.decodeAudioData(bytesOf(textOf(sound.flac)).buffer)));
}

function textOf(id) {
  return document.getElementById(id).textContent;
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
}

// What is not as loud as the original though levels are matched, in words: a gain has a limit, and silence has none.
function unmatched(sounds) {
  return sounds
    .filter((sound) => sound.apart_db === null || Math.abs(sound.apart_db) > LEVEL_TOLERANCE)
    .map(({ system, apart_db: apart }) =>
      apart === null
        ? `The level of ${system} cannot be matched`
        : `${system} stays ${Math.abs(apart).toFixed(1)} dB too ${apart < 0 ? "quiet" : "loud"}`,
    );
}

// Factors on the samples: what storing took, the matching gain if wanted, and the excerpt's common headroom.
function levelsOf(excerpt, matched) {
  return excerpt.sounds.map(
    (sound) => sound.scale * excerpt.headroom * (matched ? 10 ** (sound.gain_db / 20) : 1),
  );
}
