// Opens the documentation of a running gateway in Chromium, as a reader would, and sends a request from it.
//
//   GATEWRIGHT_URL   where the gateway listens, such as http://127.0.0.1:8080
//   DOCS_API         which API of the index (default: the first)
//   DOCS_OPERATION   `get /path` as the reference shows it (default: the first GET without required parameters)
//   DOCS_PARAMETERS  `name=value&…` for that operation
//   DOCS_KEY         a key or token for the authentication field
//   DOCS_EXPECT      text that the answer must show
//   DOCS_SCREENSHOTS a folder for pictures of every page
//   CHROMIUM         the browser (default: /usr/bin/chromium)
//
// Exit code 0: everything held; 1: the first thing that did not.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const base = (process.env.GATEWRIGHT_URL ?? 'http://127.0.0.1:8080').replace(/\/$/, '');
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const { hostname, origin } = new URL(base);
const loopback = /^(localhost|127(\.\d+){3}|\[::1\])$/;
assert.match(hostname, loopback, 'the test runs on loopback only');

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--no-first-run', '--disable-quic', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.*',
  ],
});

try {
  await run();
} catch (error) {
  console.error(`docs: ${error.message}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}

async function run() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: 'light' });
  const seen = { requests: [], outside: [], violations: [], errors: [] };
  // Every request, from any frame or worker: what is not loopback is noted and stopped.
  await context.route('**/*', (route) => {
    const url = new URL(route.request().url());
    seen.requests.push(`${route.request().method()} ${url}`);
    if (['data:', 'blob:'].includes(url.protocol) || loopback.test(url.hostname)) return route.continue();
    seen.outside.push(url.href);
    return route.abort();
  });
  await context.exposeBinding('noteViolation', (_, text) => seen.violations.push(text));
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => {
      window.noteViolation(`${event.effectiveDirective} ${event.blockedURI} on ${event.documentURI}`);
    });
  });
  const page = await context.newPage();
  page.on('pageerror', (error) => seen.errors.push(error.message));
  const session = await context.newCDPSession(page);

  await problems(page);
  await theChecksCanFail(page, session, seen);
  const description = await openReference(page);
  await tryIt(page, description);
  await picture(page, 'answer');

  assert.deepEqual(seen.outside, [], 'requests left loopback');
  assert.deepEqual(seen.violations, [], 'the Content-Security-Policy was violated');
  assert.deepEqual(seen.errors, [], 'scripts failed');
  const foreign = seen.requests.filter((request) => !request.includes(` ${origin}/`) && !/ (data|blob):/.test(request));
  assert.deepEqual(foreign, [], 'requests left the origin');
  assert.deepEqual(await stored(page, session), [], 'something was kept in the browser');
  await otherLooks();
  console.log(`docs: ${seen.requests.length} requests, all to ${origin}; no violation, nothing kept`);
}

/// The problem pages: content, and accessibility in both colour schemes.
async function problems(page) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.goto(`${base}/docs/problems`);
    await accessible(page, `problems, ${colorScheme}`);
    await picture(page, `problems-${colorScheme}`);
    await page.getByRole('link', { name: 'rate-limited' }).click();
    await page.waitForURL('**/docs/problems/rate-limited');
    assert.match(await page.getByRole('main').innerText(), /Retry-After/);
    assert.match(await page.locator('pre').innerText(), /"status": 429/);
    await accessible(page, `problem, ${colorScheme}`);
    await picture(page, `problem-${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: 'light' });
}

/// A check that cannot fail shows nothing: plant what each must find, then remove it.
async function theChecksCanFail(page, session, seen) {
  await page.evaluate(() => { localStorage.setItem('planted', '1'); sessionStorage.setItem('planted', '1'); });
  assert.equal((await stored(page, session)).length, 2, 'planted storage is found');
  await page.evaluate(() => { localStorage.clear(); sessionStorage.clear(); });
  await page.evaluate(() => fetch('https://example.com/').catch(() => {}));
  await page.waitForTimeout(200);
  assert.equal(seen.violations.length, 1, 'a request to elsewhere violates the policy');
  seen.violations.length = 0;
}

/// From /docs to the reference of one API; gives its effective description.
async function openReference(page) {
  await page.goto(`${base}/docs`);
  const cards = page.locator('.card h2 a');
  if (await cards.count()) {
    await accessible(page, 'index');
    await picture(page, 'index');
    const wanted = process.env.DOCS_API;
    await (wanted ? cards.filter({ hasText: wanted }) : cards).first().click();
  }
  await page.locator('#reference h1').waitFor();
  await accessible(page, 'bar of the reference', '.bar');
  await picture(page, 'reference');
  const address = await page.getByRole('link', { name: 'openapi.json' }).getAttribute('href');
  const answer = await page.request.get(`${base}${address}`);
  assert.equal(answer.status(), 200);
  return answer.json();
}

/// Sends a request with the reference's own client and looks for the answer on the page.
async function tryIt(page, description) {
  const name = process.env.DOCS_OPERATION ?? simplest(description);
  const [method, path] = name.split(' ');
  const operation = description.paths[path]?.[method];
  assert.ok(operation, `the description has ${name}`);
  await (await reach(page, name, operation.tags?.[0])).click();
  const client = page.getByRole('dialog');
  await client.waitFor();
  for (const [key, value] of new URLSearchParams(process.env.DOCS_PARAMETERS ?? '')) {
    const row = client.getByRole('row', { name: `Include ${key} in request` });
    await row.getByRole('combobox', { name: 'Value' }).fill(value);
  }
  if (process.env.DOCS_KEY) await client.getByRole('textbox').first().fill(process.env.DOCS_KEY);
  await picture(page, 'client');
  const answered = page.waitForResponse((response) => {
    const url = new URL(response.url());
    return response.request().method() === method.toUpperCase() && !url.pathname.startsWith('/docs');
  });
  await client.getByRole('button', { name: /^Send/ }).first().click();
  const answer = await answered;
  assert.equal(new URL(answer.url()).origin, origin, 'the client talks to the gateway');
  assert.ok(answer.ok(), `${answer.url()} answered ${answer.status()}`);
  const shown = process.env.DOCS_EXPECT;
  await client.getByText(String(answer.status())).first().waitFor();
  if (shown) await client.getByText(shown).first().waitFor();
}

/// The reference draws operations as they come into view; its own address for one brings it there.
async function reach(page, name, tag) {
  const [method, path] = name.split(' ');
  const place = tag ? `tag/${tag.toLowerCase().replaceAll(' ', '-')}/` : '';
  await page.goto(`${page.url().split('#')[0]}#${place}${method.toUpperCase()}${path}`);
  await page.reload();
  await page.locator('#reference h1').waitFor();
  const button = page.getByRole('button', { name: /test request/i }).filter({ hasText: `(${name})` });
  for (let step = 0; step < 100 && !(await button.count()); step += 1) {
    await page.mouse.move(760, 500);
    await page.mouse.wheel(0, 500);
    await page.waitForTimeout(100);
  }
  assert.ok(await button.count(), `${name} is on the page`);
  return button.first();
}

/// `get /path` of the first GET that needs nothing.
function simplest(description) {
  for (const [path, item] of Object.entries(description.paths ?? {})) {
    const parameters = [...(item.parameters ?? []), ...(item.get?.parameters ?? [])];
    if (item.get && !path.includes('{') && !parameters.some((parameter) => parameter.required)) return `get ${path}`;
  }
  throw new Error('no GET without required parameters; name one in DOCS_OPERATION');
}

/// The reference in the dark and on a small screen, without a sideways scroll bar.
async function otherLooks() {
  for (const [name, options] of [
    ['dark', { viewport: { width: 1280, height: 860 }, colorScheme: 'dark' }],
    ['small', { viewport: { width: 390, height: 800 } }],
  ]) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    for (const path of ['/docs', '/docs/problems']) {
      await page.goto(`${base}${path}`);
      if (await page.locator('#reference').count()) await page.locator('#reference h1').waitFor();
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${path} is ${wide} px too wide when ${name}`);
      await picture(page, `${name}${path.replaceAll('/', '-')}`);
    }
    await context.close();
  }
}

/// Everything the browser keeps for the origin: cookies, both storages, databases, caches, workers.
async function stored(page, session) {
  const found = (await page.context().cookies()).map((cookie) => `cookie ${cookie.name}`);
  for (const isLocalStorage of [true, false]) {
    const { entries } = await session.send('DOMStorage.getDOMStorageItems', {
      storageId: { securityOrigin: origin, isLocalStorage },
    });
    found.push(...entries.map(([key]) => `${isLocalStorage ? 'local' : 'session'}Storage ${key}`));
  }
  found.push(...await page.evaluate(async () => [
    ...(await indexedDB.databases()).map(({ name }) => `database ${name}`),
    ...(await caches.keys()).map((name) => `cache ${name}`),
    ...(await navigator.serviceWorker.getRegistrations()).map(({ scope }) => `worker ${scope}`),
  ]));
  return found;
}

async function accessible(page, what, part) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate((include) => window.axe.run(include ?? document), part);
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target).join(', ')}`);
  assert.deepEqual(found, [], `accessibility of ${what}`);
}

async function picture(page, name) {
  const folder = process.env.DOCS_SCREENSHOTS;
  if (folder) await page.screenshot({ path: `${folder}/${name}.png` });
}
