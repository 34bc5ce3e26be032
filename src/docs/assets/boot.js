// Starts the reference on a page of the gateway, with everything off that would leave its origin.
'use strict';

// Nothing is kept in the browser: the reference gets a storage that ends with the page.
class PageStorage {
  #kept = new Map();
  getItem(key) { return this.#kept.get(String(key)) ?? null; }
  setItem(key, value) { this.#kept.set(String(key), String(value)); }
  removeItem(key) { this.#kept.delete(String(key)); }
  clear() { this.#kept.clear(); }
  key(index) { return [...this.#kept.keys()][index] ?? null; }
  get length() { return this.#kept.size; }
}
for (const name of ['localStorage', 'sessionStorage']) {
  Object.defineProperty(window, name, { value: new PageStorage() });
}

// The reference's validator would try to make code from text to be faster, which the policy forbids.
globalThis.__zod_globalConfig = { jitless: true };

// The page may be open under another name of the gateway than the description's (localhost, an address):
// calls go to the origin the page came from, which is the only one its policy lets them reach.
function toThisOrigin(servers) {
  for (const server of Array.isArray(servers) ? servers : []) {
    try {
      const url = new URL(server.url, location.origin);
      server.url = location.origin + url.pathname.replace(/\/$/, '');
    } catch { /* A template that is no URL stays as it is. */ }
  }
}

function localise(description) {
  if (description.swagger) {
    description.host = location.host;
    description.schemes = [location.protocol.slice(0, -1)];
    return description;
  }
  description.servers ??= [{ url: '/' }];
  toThisOrigin(description.servers);
  for (const item of Object.values(description.paths ?? {})) {
    toThisOrigin(item?.servers);
    for (const operation of Object.values(item ?? {})) toThisOrigin(operation?.servers);
  }
  return description;
}

async function start() {
  const place = document.getElementById('reference');
  try {
    const answer = await fetch(place.dataset.description, { headers: { accept: 'application/json' } });
    if (!answer.ok) throw new Error(`the description answers ${answer.status}`);
    const content = localise(await answer.json());
    place.replaceChildren();
    window.Scalar.createApiReference('#reference', {
      content,
      theme: 'default',
      layout: 'modern',
      agent: { disabled: true },
      mcp: { disabled: true },
      telemetry: false,
      withDefaultFonts: false,
      persistAuth: false,
      hideClientButton: true,
      showDeveloperTools: 'never',
      documentDownloadType: 'none',
      defaultHttpClient: { targetKey: 'shell', clientKey: 'curl' },
      externalUrls: { dashboardUrl: '', registryUrl: '', proxyUrl: '', apiBaseUrl: '' },
    });
  } catch (error) {
    const text = document.createElement('p');
    text.className = 'wait';
    text.setAttribute('role', 'alert');
    text.textContent = `The reference cannot be shown: ${error.message}.`;
    place.replaceChildren(text);
  }
}

// Deferred scripts have all run by then, the reference's own too.
document.addEventListener('DOMContentLoaded', start);
