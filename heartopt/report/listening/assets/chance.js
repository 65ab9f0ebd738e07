// Chance: who is X, in which order sounds come, and what guessing would reach.

// Random numbers are secret, but where the address ends in #seed=N they follow from N, and results say so.
const seedText = /(?:^#|&)seed=(\d+)(?:&|$)/.exec(location.hash);
const seeded = seedText !== null;
const random = seeded ? xorshift(Number(seedText[1])) : () => crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32;

// Numbers in [0, 1) from a 32-bit xorshift generator (Marsaglia 2003).
function xorshift(start) {
  let state = Math.imul(start + 1, 0x9e3779b1) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}

// A copy in random order (Fisher and Yates).
function shuffled(list) {
  const result = [...list];
  for (let last = result.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [result[last], result[other]] = [result[other], result[last]];
  }
  return result;
}

// The probability of at least so many right answers by guessing: the exact one-sided binomial test against 1/2.
function guessing(right, trials) {
  let ways = 1; // to have k right
  let sum = 0;
  for (let k = 0; k <= trials; k += 1) {
    if (k >= right) sum += ways;
    ways = (ways * (trials - k)) / (k + 1);
  }
  return sum / 2 ** trials;
}
