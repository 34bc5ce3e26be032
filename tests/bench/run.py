"""What Gatewright costs, beside nginx and HAProxy in the same run: prints Markdown tables.

CPU is that of the whole process per request, at defaults of each but without access logs. Origin and load
share one core, the proxies take turns on the other, and medians over several rounds are shown, so that one
run compares; figures of two machines or two runs do not.

usage: run.py [BINARY] [ROUNDS] [SECONDS]      reads GATEWRIGHT_SPECS (default: ../shared/specs) for imports
"""
import gzip
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
SECONDS = int(sys.argv[3]) if len(sys.argv) > 3 else 4
CONNECTIONS = 64
TICKS = os.sysconf('SC_CLK_TCK')
SBIN = {**os.environ, 'PATH': os.environ['PATH'] + ':/usr/sbin'}

NGINX_ORIGIN = '''
worker_processes 1; daemon off; master_process off; pid {work}/origin.pid; error_log /dev/null;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;
  server {{
    listen 127.0.0.1:{origin} backlog=4096; default_type application/json;
    location /hit {{ add_header Cache-Control "max-age=3600"; return 200 '{body}'; }}
    location / {{ add_header Cache-Control "no-store"; return 200 '{body}'; }}
  }}
}}
'''

NGINX = '''
worker_processes 1; daemon off; master_process off; pid {work}/nginx.pid; error_log /dev/null;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600;
  proxy_temp_path {work}/proxy; client_body_temp_path {work}/client;
  proxy_cache_path {work}/cache levels=1:2 keys_zone=z:64m max_size=1g;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; proxy_http_version 1.1; proxy_set_header Connection "";
    location /hit {{ proxy_cache z; proxy_pass http://origin; }}
    location / {{ proxy_pass http://origin; }}
  }}
}}
'''

HAPROXY = '''
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  http-reuse always
cache z
  total-max-size 64
  max-age 3600
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  http-request cache-use z if {{ path_beg /hit }}
  http-response cache-store z if {{ status 200 }}
  server origin 127.0.0.1:{origin}
'''


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def await_port(port, process, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f'{process.args} ended with {process.returncode}')
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return
        except OSError:
            time.sleep(0.01)
    sys.exit(f'{process.args} does not listen')


def pinned(core, command, **options):
    # without taskset, or on one core, everything shares what there is
    prefix = ['taskset', '-c', str(core)] if shutil.which('taskset') and os.cpu_count() > 1 else []
    return prefix + [str(part) for part in command], {'env': SBIN, **options}


def start(core, command, log=subprocess.DEVNULL):
    command, options = pinned(core, command)
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **options)


def cpu_seconds(pid):
    """User and system time of a process, its threads included."""
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def load(url, seconds):
    command, options = pinned(1, ['wrk', '-t1', f'-c{CONNECTIONS}', f'-d{seconds}s', '--latency', url])
    out = subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout
    if 'Non-2xx' in out or 'Socket errors' in out:
        sys.exit(f'errors at {url}:\n{out}')
    words = {line.split()[0]: line.split()[1] for line in out.splitlines() if len(line.split()) == 2}
    return int(out.split(' requests in')[0].split()[-1]), words.get('99%', '?')


def cost(process, url):
    load(url, 1)
    before = cpu_seconds(process.pid)
    requests, latency = load(url, SECONDS)
    return (cpu_seconds(process.pid) - before) * 1e6 / requests, latency


def compare(binary, work):
    origin, ports = free_port(), {name: free_port() for name in ('gatewright', 'nginx', 'haproxy')}
    values = {'work': work, 'origin': origin, 'body': 'x' * 200}
    for name, text in {'origin': NGINX_ORIGIN, 'nginx': NGINX, 'haproxy': HAPROXY}.items():
        (work / f'{name}.conf').write_text(text.format(**values, port=ports.get(name)))
    upstream = start(1, ['nginx', '-c', work / 'origin.conf'])
    await_port(origin, upstream)
    commands = {
        'gatewright': [binary, 'run', '--proxy', f'http://127.0.0.1:{origin}', '--access-log', 'off',
                       '--listen', f'127.0.0.1:{ports["gatewright"]}', '--admin', f'127.0.0.1:{free_port()}',
                       '--state', work / 'state'],
        'nginx': ['nginx', '-c', work / 'nginx.conf'],
        'haproxy': ['haproxy', '-db', '-f', work / 'haproxy.conf'],
    }
    processes = {}
    try:
        for name, command in commands.items():
            processes[name] = start(0, command)
            await_port(ports[name], processes[name])
        print('| µs of CPU per request | Gatewright | nginx | HAProxy | to nginx | p99 |')
        print('| --- | ---: | ---: | ---: | ---: | ---: |')
        for label, path in (('proxied GET', '/plain'), ('cache hit', '/hit')):
            figures, latency = {name: [] for name in processes}, '?'
            for _ in range(ROUNDS):
                for name, process in processes.items():
                    figure, p99 = cost(process, f'http://127.0.0.1:{ports[name]}{path}')
                    figures[name].append(figure)
                    latency = p99 if name == 'gatewright' else latency
            median = {name: statistics.median(values) for name, values in figures.items()}
            print(f'| {label} | {median["gatewright"]:.1f} | {median["nginx"]:.1f} | {median["haproxy"]:.1f} '
                  f'| {median["gatewright"] / median["nginx"]:.2f} | {latency} |', flush=True)
    finally:
        for process in [*processes.values(), upstream]:
            process.kill()
            process.wait()


def first_answer(binary, work, arguments, path):
    """Milliseconds from the start of the process to its first answer, and its memory then."""
    port, admin = free_port(), free_port()
    begin = time.monotonic()
    process = subprocess.Popen(
        [binary, 'run', *arguments, '--listen', f'127.0.0.1:{port}', '--admin', f'127.0.0.1:{admin}', '--state', work],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(f'http://127.0.0.1:{port}{path}', timeout=5).read()
            except urllib.error.HTTPError:
                pass
            except OSError:
                if process.poll() is not None or time.monotonic() - begin > 30:
                    return None
                time.sleep(0.002)
                continue
            break
        took = (time.monotonic() - begin) * 1000
        status = pathlib.Path(f'/proc/{process.pid}/status').read_text()
        return took, int(status.split('VmRSS:')[1].split()[0]) / 1024
    finally:
        process.kill()
        process.wait()


def importing(binary, file):
    """Seconds, MiB at most and operations of one import."""
    begin = time.monotonic()
    with tempfile.TemporaryFile() as out:
        pid = os.posix_spawn(binary, [binary, 'routes', file, '--format', 'json'], os.environ, file_actions=[
            (os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)])
        _, status, usage = os.wait4(pid, 0)
        seconds = time.monotonic() - begin
        out.seek(0)
        operations = len(json.load(out)) if os.waitstatus_to_exitcode(status) == 0 else 0
    return seconds, usage.ru_maxrss / 1024, operations


def imports(binary, work):
    specs = pathlib.Path(os.environ.get('GATEWRIGHT_SPECS', ROOT / '../shared/specs'))
    files = [('Bookshop', ROOT / 'openapi/bookshop.yaml')]
    for label, name in (('Stripe', '3.0-stripe.json'), ('GitHub', '3.0-github.json.gz'), ('Kubernetes', '2.0-kubernetes.yaml.gz')):
        if (specs / name).is_file():
            files.append((label, specs / name))
    print('\n| description | MB | operations | import s | import MiB | first answer ms | MiB then |')
    print('| --- | ---: | ---: | ---: | ---: | ---: | ---: |')
    for index, (label, file) in enumerate(files):
        if file.suffix == '.gz':
            plain = work / file.stem
            plain.write_bytes(gzip.decompress(file.read_bytes()))
            file = plain
        seconds, memory, operations = min(importing(binary, str(file)) for _ in range(3))
        flags = [str(file), '--upstream', 'http://127.0.0.1:9', '--access-log', 'off']
        answer = first_answer(binary, work / f'first{index}', flags, '/no-such-path')
        took, resident = (f'{answer[0]:.0f}', f'{answer[1]:.0f}') if answer else ('—', '—')
        size = file.stat().st_size / 1e6
        print(f'| {label} | {size:.1f} | {operations} | {seconds:.2f} | {memory:.0f} | {took} | {resident} |', flush=True)
    answer = first_answer(binary, work / 'plain', ['--proxy', 'http://127.0.0.1:9', '--access-log', 'off'], '/')
    if answer:
        print(f'\nWithout a description (`run --proxy`): first answer after {answer[0]:.0f} ms, {answer[1]:.0f} MiB.')


def binary_of(arguments):
    """The binary that is named, or the release of this folder."""
    if len(arguments) > 1:
        return arguments[1]
    metadata = subprocess.run(['cargo', 'metadata', '--format-version', '1', '--no-deps'], cwd=ROOT, capture_output=True, check=True)
    return json.loads(metadata.stdout)['target_directory'] + '/release/gatewright'


def main():
    binary = binary_of(sys.argv)
    print(f'{os.cpu_count()} cores, {CONNECTIONS} connections, median of {ROUNDS} rounds of {SECONDS} s\n', flush=True)
    with tempfile.TemporaryDirectory(prefix='gatewright-bench-') as folder:
        work = pathlib.Path(folder)
        compare(binary, work)
        imports(binary, work)


if __name__ == '__main__':
    main()
