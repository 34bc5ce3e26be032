// Runs the package http-cache-tests through a cache and prints one JSON object: what became of each test.
// usage: node cache_tests.mjs ORIGIN_PORT CACHE_URL [ID...]
// The package's own server listens on every address; this one serves its handlers on loopback alone.
import http from 'node:http'
import fetch from 'node-fetch'
import handleConfig from 'http-cache-tests/server/handle-config.mjs'
import handleState from 'http-cache-tests/server/handle-state.mjs'
import handleTest from 'http-cache-tests/server/handle-test.mjs'
import suites from 'http-cache-tests/tests/index.mjs'
import { getResults, runTests } from 'http-cache-tests/client/runner.mjs'

const [port, cache, ...ids] = process.argv.slice(2)
console.log = console.error // the handlers' notes do not belong in the result

const handlers = { config: handleConfig, state: handleState, test: handleTest }
const origin = http.createServer((request, response) => {
  const segments = new URL(request.url, 'http://origin').pathname.split('/').slice(1)
  const handle = handlers[segments.shift()]
  if (handle) return handle(segments, request, response)
  response.writeHead(404).end()
})
await new Promise((resolve, reject) => origin.once('error', reject).listen(Number(port), '127.0.0.1', resolve))

const wanted = test => !test.browser_only && (ids.length === 0 || ids.includes(test.id))
const chosen = suites.map(suite => ({ ...suite, tests: suite.tests.filter(wanted) }))
await runTests(chosen, fetch, false, cache, 200)
const results = getResults()
const report = chosen.flatMap(suite => suite.tests).map(({ id, kind = 'required' }) =>
  ({ id, kind, why: results[id] === true ? null : results[id].join(': ') }))
process.stdout.write(JSON.stringify(report), () => process.exit(0))
