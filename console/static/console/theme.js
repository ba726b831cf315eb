// Before the first paint, so that neither what scripts open nor a chosen theme flickers.
document.documentElement.classList.add("js");
const chosenTheme = localStorage.getItem("theme");
if (chosenTheme === "light" || chosenTheme === "dark") document.documentElement.dataset.theme = chosenTheme;
