// Opens pages in headless Chromium as a browser would: how wide they are, what they ask for, what axe-core finds. Prints JSON.
//
//   node page.cjs NODE_MODULES CHROMIUM PAGE…
const path = require('path');
const [modules, chromium, ...pages] = process.argv.slice(2);
const { chromium: browser } = require(path.join(modules, 'playwright-core'));

const looks = [
  ['light', { viewport: { width: 1100, height: 900 }, colorScheme: 'light' }],
  ['dark', { viewport: { width: 1100, height: 900 }, colorScheme: 'dark' }],
  ['phone', { viewport: { width: 390, height: 844 }, colorScheme: 'light' }],
  ['dark phone', { viewport: { width: 390, height: 844 }, colorScheme: 'dark' }],
];

(async () => {
  const running = await browser.launch({ executablePath: chromium, args: ['--no-sandbox'] });
  const found = [];
  for (const page of pages) {
    for (const [look, options] of looks) {
      // As it is opened: with its policy, and what that refuses.
      const plain = await running.newContext({ ...options, javaScriptEnabled: false });
      const opened = await plain.newPage();
      const told = [];
      const asked = [];
      opened.on('console', (message) => told.push(message.text()));
      opened.on('request', (request) => asked.push(request.url()));
      await opened.goto('file://' + page);
      await plain.close();
      // axe is a script of ours: for it alone the policy is set aside.
      const open = await running.newContext({ ...options, bypassCSP: true });
      const looked = await open.newPage();
      await looked.goto('file://' + page);
      const widths = await looked.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      await looked.addScriptTag({ path: path.join(modules, 'axe-core', 'axe.min.js') });
      const result = await looked.evaluate(() => axe.run(document));
      const violations = result.violations.map((v) => ({ id: v.id, impact: v.impact, html: v.nodes[0].html }));
      await open.close();
      found.push({ page, look, widths, told, asked, violations });
    }
  }
  await running.close();
  console.log(JSON.stringify(found));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
