// Before anything is painted: the theme that was chosen here before, else the system's.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("listening-theme");
  } catch {
    // Some browsers keep nothing for pages from the disk.
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = chosen === "dark" || chosen === "light" ? chosen : dark ? "dark" : "light";
})();
