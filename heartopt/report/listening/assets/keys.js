// The keyboard. Single keys can be switched off, for those whose speech or reading software sends them.

const SEEK = 0.5; // seconds of an arrow key

function listenToKeys(stage) {
  const wanted = document.getElementById("keys-on");
  let pointed = false; // whether the focus came by pointer: then space plays, and does not press again
  addEventListener("pointerdown", () => (pointed = true), true);
  addEventListener("keydown", (event) => {
    if (event.key === "Tab") pointed = false;
    if (event.ctrlKey !== event.altKey || event.metaKey || event.defaultPrevented) return; // AltGr sends both
    if (document.querySelector("dialog[open]")) return;
    const { target } = event;
    const onScreen = target.id === "screen";
    if (!wanted.checked && !onScreen) return;
    if (target.matches("select, input:not([type=checkbox], [type=radio], [type=range])")) return;
    if (target.matches("[type=range], [type=radio], .scroll") && event.key.startsWith("Arrow")) return;
    if (event.key === " " && target.matches("button, input, a, summary") && !pointed) return;
    const done = (event.key === " " && event.repeat) || stage.key(event.key === " " ? "space" : event.key.length === 1 ? event.key.toLowerCase() : event.key, {
      shift: event.shiftKey,
      onScreen,
    });
    if (done) event.preventDefault();
  });
  // A press of space is done when the key comes up: a button that has the pointer's focus must not act on it.
  addEventListener("keyup", (event) => {
    if (event.key === " " && pointed && wanted.checked && event.target.matches?.("button, input[type=checkbox]")) {
      event.preventDefault();
    }
  });
}
