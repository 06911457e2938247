// Check pages with axe-core in a headless Chromium, wide and narrow, light and dark: `make accessible` calls it.
// Serious and critical faults are printed, and make it end with 1, as errors of the page and sideways scrolling do.
const { execFileSync } = require("node:child_process");
const path = require("node:path");
const puppeteer = require("puppeteer-core");
const axe = require("axe-core").source;

const WIDTHS = [1400, 390];
const SCHEMES = ["light", "dark"];
const GRAVE = ["serious", "critical"];

async function faults(browser, file, width, scheme) {
  const page = await browser.newPage();
  const found = [];
  page.on("pageerror", error => found.push(String(error)));
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto("file://" + path.resolve(file), { waitUntil: "load" });
  await page.evaluate(dark => {
    const themed = document.querySelector("[data-md-color-scheme]"); // the site's own switch
    if (themed && dark) themed.setAttribute("data-md-color-scheme", "slate");
  }, scheme === "dark");
  await new Promise(done => setTimeout(done, 500)); // the page's scripts
  if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)) found.push("scrolls sideways");
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  for (const one of violations.filter(one => GRAVE.includes(one.impact)))
    found.push(`${one.id}: ${one.nodes.length} times, first ${one.nodes[0].target}`);
  await page.close();
  return found.map(fault => `${file}, ${width} pixels, ${scheme}: ${fault}`);
}

(async () => {
  const chromium = process.env.CHROMIUM || execFileSync("which", ["chromium"]).toString().trim();
  const browser = await puppeteer.launch({ executablePath: chromium, args: ["--no-sandbox", "--disable-gpu"] });
  let count = 0;
  for (const file of process.argv.slice(2))
    for (const width of WIDTHS)
      for (const scheme of SCHEMES)
        for (const fault of await faults(browser, file, width, scheme)) {
          console.log(fault);
          count += 1;
        }
  await browser.close();
  console.log(`${process.argv.length - 2} pages, ${count} grave faults`);
  process.exit(count > 0 ? 1 : 0);
})();
