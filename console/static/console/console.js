// What the console's pages do in the browser. Every behaviour hangs on a data attribute; pages hold no script.
"use strict";

const csrfToken = () => document.querySelector('meta[name="csrf-token"]').content;

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRFToken"] = csrfToken();
});

// htmx leaves an error's answer out of the page; say what happened.
document.addEventListener("htmx:responseError", (event) => {
  announce(`That did not work (${event.detail.xhr.status}). Reload the page and try again.`);
});
document.addEventListener("htmx:sendError", () => announce("The server cannot be reached. Try again shortly."));

function announce(text) {
  const region = document.getElementById("announcements");
  if (region) region.textContent = text;
}

// data-copy="#id" copies that element's text, data-copy-text="…" a text of its own.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-text]");
  if (!button) return;
  const source = button.dataset.copy && document.querySelector(button.dataset.copy);
  const text = button.dataset.copyText ?? (source.value ?? source.textContent).trim();
  const label = button.querySelector("[data-label]") ?? button;
  const before = label.textContent;
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
    announce("Copied");
  } catch {
    label.textContent = "Press Ctrl+C";
    if (source) getSelection().selectAllChildren(source);
  }
  setTimeout(() => { label.textContent = before; }, 2000);
});

// data-open="#dialog" opens a dialog; data-close closes the one around it.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]");
  if (opener) document.querySelector(opener.dataset.open).showModal();
  const closer = event.target.closest("[data-close]");
  if (closer) closer.closest("dialog").close();
  const menu = event.target.closest("[data-menu]");
  if (menu) {
    const open = document.querySelector(menu.dataset.menu).classList.toggle("open");
    menu.setAttribute("aria-expanded", String(open));
  }
});

// data-confirm="text": the form's submit button works once the field holds exactly that text. The server compares too.
function confirmed(field) {
  field.form.querySelector('[type="submit"]').disabled = field.value !== field.dataset.confirm;
}
document.addEventListener("input", (event) => {
  const field = event.target.closest("[data-confirm]");
  if (field) confirmed(field);
});
// When the page is shown, and not earlier: by then the browser has put back what was typed before.
window.addEventListener("pageshow", () => document.querySelectorAll("[data-confirm]").forEach(confirmed));

// data-submit: a choice that sends its form at once.
document.addEventListener("change", (event) => {
  if (event.target.closest("[data-submit]")) event.target.form.requestSubmit();
});

// Tabs: buttons with role="tab" and aria-controls, moved through by arrow keys.
document.addEventListener("click", (event) => {
  const tab = event.target.closest('[role="tab"]');
  if (tab) selectTab(tab);
});
document.addEventListener("keydown", (event) => {
  const tab = event.target.closest('[role="tab"]');
  if (!tab || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
  const tabs = [...tab.parentElement.querySelectorAll('[role="tab"]')];
  const next = tabs[(tabs.indexOf(tab) + (event.key === "ArrowRight" ? 1 : tabs.length - 1)) % tabs.length];
  next.focus();
  selectTab(next);
});
function selectTab(tab) {
  for (const other of tab.parentElement.querySelectorAll('[role="tab"]')) {
    const selected = other === tab;
    other.setAttribute("aria-selected", String(selected));
    other.tabIndex = selected ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !selected;
  }
}

// The theme: by the system, until the reader chooses.
document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-theme-toggle]")) return;
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = dark ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
  drawCharts();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawCharts());

// Charts: <canvas data-chart="id-of-json">, drawn with Chart.js where the page loaded it. The JSON is
// {labels: [...], ticks: [...], series: [{label, values, kind: "bar" | "line", axis, unit, colour}], stacked}: `labels`
// name the values in full, `ticks` in short. `console/charts.py` makes it.
const drawn = new Map();
function drawCharts() {
  if (typeof Chart === "undefined") return;
  const style = getComputedStyle(document.documentElement);
  const probe = document.body.appendChild(document.createElement("i"));
  const colour = (name) => {  // as it is in the theme: the variable itself holds both
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  Chart.defaults.font.family = style.getPropertyValue("--sans");
  Chart.defaults.color = colour("--muted");
  Chart.defaults.animation = false;
  for (const canvas of document.querySelectorAll("canvas[data-chart]")) {
    drawn.get(canvas)?.destroy();
    const data = JSON.parse(document.getElementById(canvas.dataset.chart).textContent);
    const axes = [...new Set(data.series.map((one) => one.axis))];
    const scales = {
      x: {
        grid: { display: false },
        border: { color: colour("--border-strong") },
        stacked: data.stacked,
        ticks: { maxRotation: 0, autoSkipPadding: 24, callback: (index) => data.ticks[index] },
      },
    };
    axes.forEach((axis, index) => {
      const unit = data.series.find((one) => one.axis === axis).unit;
      scales[axis] = {
        beginAtZero: true,
        stacked: data.stacked && index === 0,
        position: index ? "right" : "left",
        max: unit === "%" ? 100 : undefined,
        grid: { color: colour("--border"), drawOnChartArea: index === 0 },
        border: { display: false },
        ticks: { maxTicksLimit: 6, callback: (value) => withUnit(value, unit) },
      };
    });
    drawn.set(canvas, new Chart(canvas, {
      type: "bar",
      data: {
        labels: data.labels,
        datasets: data.series.map((one) => {
          const shade = colour(`--chart-${one.colour}`);
          const line = one.kind === "line";
          return {
            type: one.kind,
            label: one.label,
            data: one.values,
            order: line ? 0 : 1,
            yAxisID: one.axis,
            unit: one.unit,
            borderColor: shade,
            backgroundColor: shade,
            borderWidth: line ? 2 : 0,
            borderRadius: line ? 0 : 2,
            maxBarThickness: 28,
            pointRadius: line && data.labels.length <= 31 ? 2 : 0,
            pointHitRadius: 12,
            cubicInterpolationMode: "monotone",
            spanGaps: false,
          };
        }),
      },
      options: {
        maintainAspectRatio: false,
        interaction: { mode: "index", intersect: false },
        scales,
        plugins: {
          legend: { display: data.series.length > 1, position: "bottom", align: "start",
                    labels: { boxWidth: 10, boxHeight: 10, useBorderRadius: true, borderRadius: 3 } },
          tooltip: { callbacks: { title: (items) => `${items[0].label} UTC`, label: (item) =>
            `${item.dataset.label}: ${withUnit(item.raw, item.dataset.unit)}` } },
        },
      },
    }));
  }
  probe.remove();
}
function withUnit(value, unit) {
  if (value === null) return "–";
  if (unit === "B") return inBytes(value);
  const text = Number(value).toLocaleString("en", { maximumFractionDigits: 4 });
  return unit === "$" ? `$${text}` : unit === "%" ? `${text}%` : unit ? `${text} ${unit}` : text;
}
function inBytes(value) {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3)));
  const amount = (value / 1000 ** power).toLocaleString("en", { maximumFractionDigits: 1 });
  return `${amount} ${["B", "KB", "MB", "GB", "TB"][power]}`;
}
document.addEventListener("DOMContentLoaded", drawCharts);
document.addEventListener("htmx:afterSettle", drawCharts);
