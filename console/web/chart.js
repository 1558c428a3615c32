// Charts. Each is drawn from the table beside it, which is what readers without
// the picture get, so the two cannot differ.

import { BarChart, LineChart } from "echarts/charts";
import { GridComponent, TooltipComponent } from "echarts/components";
import * as echarts from "echarts/core";
import { SVGRenderer } from "echarts/renderers";

echarts.use([BarChart, LineChart, GridComponent, TooltipComponent, SVGRenderer]);

const drawn = new Map(); // plot element -> chart

const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) drawn.get(target)?.resize();
});

// drawAll draws the charts of the page: new ones from nothing, those that stood
// already from where they were, and forgets those that are gone.
export function drawAll() {
  for (const [plot, chart] of drawn) {
    if (plot.isConnected) continue;
    resized.unobserve(plot);
    chart.dispose();
    drawn.delete(plot);
  }
  for (const figure of document.querySelectorAll("figure[data-chart]")) draw(figure);
}

// redraw starts from nothing: colours or motion have changed.
export function redraw() {
  for (const [plot, chart] of drawn) {
    resized.unobserve(plot);
    chart.dispose();
  }
  drawn.clear();
  drawAll();
}

function draw(figure) {
  const plot = figure.querySelector(".plot");
  let chart = drawn.get(plot);
  if (!chart) {
    chart = echarts.init(plot, null, { renderer: "svg" });
    drawn.set(plot, chart);
    resized.observe(plot);
  }
  chart.setOption(option(figure, read(figure)), { notMerge: true });
}

// read takes the numbers out of a chart's table.
function read(figure) {
  const table = figure.querySelector("table");
  const series = [...table.tHead.rows[0].cells].slice(1).map((cell) => ({
    label: cell.textContent,
    colour: cell.dataset.colour,
    values: [],
  }));
  const steps = [...table.tBodies[0].rows].map((row) => {
    [...row.cells].slice(1).forEach((cell, i) => series[i].values.push(Number(cell.firstElementChild.value)));
    const time = row.cells[0].firstElementChild;
    return { start: new Date(time.dateTime), name: time.textContent, running: "running" in row.dataset };
  });
  return { series, steps };
}

function option(figure, { series, steps }) {
  const style = getComputedStyle(document.documentElement);
  const token = (name) => style.getPropertyValue(name).trim();
  const stacked = "stacked" in figure.dataset;
  const small = figure.closest(".card") !== null;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const font = getComputedStyle(document.body).fontFamily;
  const label = { color: token("--soft"), fontFamily: font, fontSize: 11 };

  // A hair of background keeps neighbours apart that look alike to some, as
  // long as there is room for it.
  const gap = stacked && !small && series.length > 1 && steps.length <= 45 ? 1 : 0;

  return {
    animation: !still,
    animationDuration: 350,
    animationDurationUpdate: 350,
    grid: { left: 0, right: 4, top: 12, bottom: 2, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    xAxis: {
      type: "category",
      data: steps.map((step) => axisLabel(step.start, figure.dataset.step)),
      axisLine: { lineStyle: { color: token("--line") } },
      axisTick: { show: false },
      axisLabel: { ...label, hideOverlap: true, margin: 10 },
    },
    yAxis: {
      type: "value",
      minInterval: 1,
      splitNumber: small ? 2 : 4,
      axisLabel: { ...label, formatter: compact },
      splitLine: { lineStyle: { color: token("--line") } },
    },
    tooltip: {
      trigger: "axis",
      confine: true,
      transitionDuration: still ? 0 : 0.15,
      axisPointer: stacked
        ? { type: "shadow", shadowStyle: { color: token("--hover") } }
        : { type: "line", lineStyle: { color: token("--soft"), type: "dashed" } },
      backgroundColor: "transparent",
      borderWidth: 0,
      padding: 0,
      extraCssText: "box-shadow:none",
      textStyle: { fontFamily: font },
      formatter: (points) => tip(points[0].dataIndex, series, steps, figure.dataset.unit, stacked),
    },
    series: series.map(({ label: name, colour, values }) => ({
      name,
      type: stacked ? "bar" : "line",
      stack: stacked ? "all" : undefined,
      data: values.map((value, i) => ({
        value,
        itemStyle: stacked && steps[i].running ? { opacity: 0.55 } : undefined,
      })),
      itemStyle: { color: token(`--c${colour}`), borderColor: token("--box"), borderWidth: gap },
      lineStyle: { width: 2 },
      symbol: "circle",
      symbolSize: 5,
      showSymbol: steps.length <= 31,
      barCategoryGap: steps.length > 45 ? "15%" : "28%",
      barMaxWidth: 44,
      emphasis: { disabled: true },
    })),
  };
}

// tip makes the content of a tooltip out of elements: a string would carry
// inline styles, which the content policy refuses.
function tip(index, series, steps, unit, stacked) {
  const make = (tag, kind, text) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const row = (dot, name, value) => {
    const line = make("li");
    line.append(dot, make("span", "name", name), make("span", "value", value.toLocaleString("en")));
    return line;
  };
  const box = make("div", "tip");
  const step = steps[index];
  box.append(make("p", "when", step.running ? `${step.name}, so far` : step.name));
  const list = make("ul");
  for (const { label, colour, values } of [...series].reverse()) {
    list.append(row(make("span", `dot c${colour}`), label, values[index]));
  }
  if (stacked && series.length > 1) {
    const sum = series.reduce((n, { values }) => n + values[index], 0);
    const all = row(make("span"), `all ${unit}`, sum);
    all.className = "all";
    list.append(all);
  }
  box.append(list);
  return box;
}

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

// axisLabel names the day of a step, or the hour unless it is the day's first.
function axisLabel(start, step) {
  if (step === "hour" && start.getUTCHours() > 0) return `${String(start.getUTCHours()).padStart(2, "0")}:00`;
  return `${start.getUTCDate()} ${months[start.getUTCMonth()]}`;
}

function compact(n) {
  return n.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
}
