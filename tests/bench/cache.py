"""What a hit of the cache costs, beside nginx and Varnish in the same run: prints a Markdown table.

All three check an API key, write one JSON line per request to a file and count what their metrics show. CPU is
that of all processes of a server per request, for answers of 1 KB and 100 KB spread over many addresses. The
memory tier holds them all; for the disk tier Gatewright is started again with almost no memory, Varnish keeps
its objects in a file, and nginx does as always: its cache are files in the system's own memory.

Each server is started anew in each round, for the costs of a process depend on how its memory happens to lie;
medians are shown. One core is the server's, the other the load's.

usage: cache.py [BINARY] [ROUNDS] [SECONDS]
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import urllib.request

from run import CONNECTIONS, SBIN, TICKS, await_port, binary_of, free_port, pinned, start

ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
SECONDS = int(sys.argv[3]) if len(sys.argv) > 3 else 3
ADDRESSES = 1000
SIZES = {'1k': 1000, '100k': 100_000}

ORIGIN = '''
worker_processes 1; daemon off; master_process off; pid {work}/origin.pid; error_log /dev/null;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600; types {{ }}
  server {{
    listen 127.0.0.1:{origin} backlog=4096; root {work}; default_type application/json;
    location / {{ add_header Cache-Control "public, max-age=3600"; rewrite ^/(1k|100k)/ /body-$1 break; }}
  }}
}}
'''

NGINX = '''
worker_processes 1; daemon off; master_process off; pid {work}/nginx.pid; error_log /dev/null;
events {{ worker_connections 8192; }}
http {{
  sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 3600;
  log_format line escape=json '{{"time":"$time_iso8601","request_id":"$request_id","client":"$remote_addr",'
    '"method":"$request_method","path":"$request_uri","host":"$host","status":$status,"bytes":$body_bytes_sent,'
    '"duration":$request_time,"cache":"$upstream_cache_status","agent":"$http_user_agent"}}';
  access_log {work}/nginx.log line buffer=64k flush=1s;
  map_hash_bucket_size 128;
  map $http_x_api_key $known {{ default 0; "{key}" 1; }}
  proxy_temp_path {work}/proxy; client_body_temp_path {work}/client;
  proxy_cache_path {work}/nginx-cache levels=1:2 keys_zone=z:64m max_size=1g;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; proxy_http_version 1.1; proxy_set_header Connection "";
    if ($known = 0) {{ return 401; }}
    location /nginx_status {{ stub_status; }}
    location / {{ proxy_cache z; proxy_pass http://origin; add_header X-Cache $upstream_cache_status; }}
  }}
}}
'''

VARNISH = '''
vcl 4.1;
backend origin {{ .host = "127.0.0.1"; .port = "{origin}"; }}
sub vcl_recv {{
  if (req.http.X-API-Key != "{key}") {{ return (synth(401)); }}
}}
sub vcl_deliver {{ if (obj.hits > 0) {{ set resp.http.X-Cache = "HIT"; }} }}
'''
VARNISH_LINE = ('{"time":"%t","id":"%{X-Varnish}o","client":"%h","method":"%m","path":"%U%q","host":"%{Host}i",'
                '"status":%s,"bytes":%b,"duration":%D,"cache":"%{Varnish:handling}x","agent":"%{User-agent}i"}')

GATEWRIGHT = '''
routes: [{{ path: /**, upstream: "http://127.0.0.1:{origin}", security: gateway }}]
listen: ["127.0.0.1:{port}"]
admin: {{ address: "127.0.0.1:{admin}" }}
access_log: json
cache: {{ memory: {memory}, disk: 4GiB }}
'''

# every address in turn, in an order that no cache can like
LOAD = '''
local n, i = {addresses}, 0
local requests = {{}}
for k = 1, n do
  requests[k] = wrk.format("GET", "/{size}/" .. (k * 7919 % n), {{ ["X-API-Key"] = "{key}", ["Host"] = "bench.test" }})
end
request = function() i = i % n + 1; return requests[i] end
'''


def family(pid):
    """A process and all its descendants."""
    parents = {}
    for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rsplit(')', 1)[1].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += parents.get(found[-1], [])
    return found


def cpu_seconds(processes):
    total = 0
    for pid in {member for process in processes for member in family(process.pid)}:
        fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def load(port, script, seconds):
    command, options = pinned(1, ['wrk', '-t1', f'-c{CONNECTIONS}', f'-d{seconds}s', '--latency', '-s', script,
                                  f'http://127.0.0.1:{port}/'])
    out = subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout
    if 'Non-2xx' in out or 'Socket errors' in out:
        sys.exit(f'errors at port {port}:\n{out}')
    return int(out.split(' requests in')[0].split()[-1])


def fetch(port, path, key):
    request = urllib.request.Request(f'http://127.0.0.1:{port}{path}', headers={'X-API-Key': key, 'Host': 'bench.test'})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers, answer.read()


class Bench:
    def __init__(self, binary, work):
        self.binary, self.work, self.origin = binary, work, free_port()
        for size, length in SIZES.items():
            (work / f'body-{size}').write_bytes(b'x' * length)
        self.key = self.make_key()
        self.scripts = {}
        for size in SIZES:
            self.scripts[size] = work / f'load-{size}.lua'
            self.scripts[size].write_text(LOAD.format(addresses=ADDRESSES, size=size, key=self.key))

    def make_key(self):
        (self.work / 'state').mkdir(mode=0o700)
        out = subprocess.run([self.binary, 'keys', 'add', 'bench', '--state', self.work / 'state'],
                             capture_output=True, text=True, check=True).stdout
        return next(word for word in out.split() if word.startswith('gw_'))

    def servers(self, tier, port):
        """The commands of each server, and where the output of each goes."""
        values = {'work': self.work, 'origin': self.origin, 'port': port, 'key': self.key, 'admin': free_port(),
                  'memory': '512MiB' if tier == 'memory' else '64KiB'}
        for name, text in {'nginx.conf': NGINX, 'varnish.vcl': VARNISH, 'gatewright.yaml': GATEWRIGHT}.items():
            (self.work / name).write_text(text.format(**values))
        storage = 'malloc,512m' if tier == 'memory' else f'file,{self.work}/varnish.store,512m'
        return {
            'gatewright': [[self.binary, 'run', self.work / 'gatewright.yaml', '--state', self.work / 'state',
                            '--workers', '1']],
            'nginx': [['nginx', '-c', self.work / 'nginx.conf']],
            'varnish': [['varnishd', '-F', '-j', 'none', '-a', f'127.0.0.1:{port}', '-f', self.work / 'varnish.vcl', '-s', storage,
                         '-n', self.work / 'varnish', '-T', 'none'],
                        ['varnishncsa', '-n', self.work / 'varnish', '-F', VARNISH_LINE, '-w', self.work / 'varnish.log']],
        }

    def measure(self, name, tier, size):
        """Microseconds of CPU per hit of a server that was just started and filled."""
        port = free_port()
        processes = []
        try:
            for command in self.servers(tier, port)[name]:
                with open(self.work / f'{name}-{len(processes)}.log', 'ab') as log:
                    processes.append(start(0, command, log))
                await_port(port, processes[0])
            load(port, self.scripts[size], 2)
            headers, body = fetch(port, f'/{size}/0', self.key)
            said = headers.get('X-Cache') or headers.get('Cache-Status')
            if len(body) != SIZES[size] or 'hit' not in said.lower():
                sys.exit(f'{name}: no hit after the warm-up: {said}')
            if name == 'gatewright' and ('detail=disk' in said) != (tier == 'disk'):
                sys.exit(f'{name}: not from the tier that is measured: {said}')
            before = cpu_seconds(processes)
            requests = load(port, self.scripts[size], SECONDS)
            return (cpu_seconds(processes) - before) * 1e6 / requests
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()

    def run(self):
        (self.work / 'origin.conf').write_text(ORIGIN.format(work=self.work, origin=self.origin))
        origin = start(1, ['nginx', '-c', self.work / 'origin.conf'])
        await_port(self.origin, origin)
        try:
            print('| µs of CPU per hit | Gatewright | nginx | Varnish | to nginx | to Varnish |')
            print('| --- | ---: | ---: | ---: | ---: | ---: |')
            for tier in ('memory', 'disk'):
                for size in SIZES:
                    self.row(tier, size)
        finally:
            origin.terminate()
            origin.wait()

    def row(self, tier, size):
        figures = {name: [] for name in ('gatewright', 'nginx', 'varnish')}
        for _ in range(ROUNDS):
            for name, values in figures.items():
                values.append(self.measure(name, tier, size))
        own, nginx, varnish = (statistics.median(values) for values in figures.values())
        print(f'| {size.replace("k", " KB")}, {tier} | {own:.1f} | {nginx:.1f} | {varnish:.1f} | {own / nginx:.2f} '
              f'| {own / varnish:.2f} |', flush=True)
        if os.environ.get('BENCH_ROUNDS'):
            print(json.dumps({name: [round(v, 1) for v in values] for name, values in figures.items()}), flush=True)


if __name__ == '__main__':
    print(f'{os.cpu_count()} cores, {CONNECTIONS} connections, {ADDRESSES} addresses, median of {ROUNDS} rounds of '
          f'{SECONDS} s, a new process each\n', flush=True)
    with tempfile.TemporaryDirectory(prefix='gatewright-bench-') as folder:
        Bench(binary_of(sys.argv), pathlib.Path(folder)).run()
