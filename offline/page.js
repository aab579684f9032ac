// The page works without this script. It adds the filter, and opens the application that a link points to.
const filter = document.getElementById("filter");
const applications = [...document.querySelectorAll("[data-application]")];
const status = document.getElementById("filter-status");

function update() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const element of applications) {
    const text = element.dataset.application.toLowerCase();
    element.hidden = !words.every((word) => text.includes(word));
    if (element.tagName === "DETAILS" && !element.hidden) count += 1;
  }
  status.textContent = words.length ? `${count} shown` : "";
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") {
    target.open = true;
    target.scrollIntoView();
  }
}

filter.addEventListener("input", update);
window.addEventListener("hashchange", openTarget);
document.getElementById("open-all").addEventListener("click", () => {
  for (const element of applications) if (element.tagName === "DETAILS") element.open = !element.hidden;
});
document.getElementById("close-all").addEventListener("click", () => {
  for (const element of applications) if (element.tagName === "DETAILS") element.open = false;
});
document.getElementById("tools").hidden = applications.length < 2;
update();
openTarget();
