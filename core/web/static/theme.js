// The theme: the system's, until the user chooses light or dark.

const root = document.documentElement;

function theme() {
  return (
    root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")
  );
}

/** Switch between light and dark, and save the choice. */
export function switchTheme() {
  const name = theme() === "dark" ? "light" : "dark";
  root.dataset.theme = name;
  try {
    localStorage.setItem("theme", name);
  } catch {
    // a private window: the choice lasts for this page
  }
}

try {
  const kept = localStorage.getItem("theme");
  if (kept) root.dataset.theme = kept;
} catch {
  // no storage: the system's theme
}
