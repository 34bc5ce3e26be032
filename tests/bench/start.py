"""The start of a gateway whose cache holds many answers on disk: prints when it answers, when they join, its memory.

The store is filled through the library (`store.rs`), then the gateway is started on it: asked at once and all the
time for what is stored, until it is a hit. Until then `Cache-Status` must say why it is not.

usage: start.py [BINARY] [ENTRIES]
"""
import http.client
import pathlib
import subprocess
import sys
import tempfile
import time

from run import ROOT, binary_of, free_port, start

ENTRIES = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
MEMORY_MIB = 64

CONFIG = '''
routes: [{{ path: /**, upstream: "http://127.0.0.1:{origin}" }}]
listen: ["127.0.0.1:{port}"]
admin: {{ address: "127.0.0.1:{admin}" }}
access_log: off
cache: {{ memory: {memory}MiB, disk: 16GiB }}
'''

ORIGIN = '''
worker_processes 1; daemon off; master_process off; pid {work}/origin.pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{ access_log off; server {{ listen 127.0.0.1:{origin}; return 200 "upstream"; }} }}
'''


def ask(port, path):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
    # The store was filled under this name.
    connection.request('GET', path, headers={'Host': 'bench.test'})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.headers.get('Cache-Status', ''), body


def status(pid, figure):
    text = pathlib.Path(f'/proc/{pid}/status').read_text()
    return int(text.split(f'{figure}:')[1].split()[0]) / 1024


def until(port, begin, wanted, limit):
    """Asks for stored answers until one comes as is wanted; the seconds since `begin`, and what was said before."""
    seen, number = set(), 0
    while time.monotonic() - begin < limit:
        try:
            said, _ = ask(port, f'/items/{number * 7919 % ENTRIES}')
        except OSError:
            time.sleep(0.002)
            continue
        if wanted(said):
            return time.monotonic() - begin, seen
        seen.add(said.split('; fwd-status')[0])
        number += 1
        time.sleep(0.005)
    sys.exit(f'not within {limit} s: {seen}')


def measure(binary, work, entries):
    port, admin, origin = free_port(), free_port(), free_port()
    (work / 'gatewright.yaml').write_text(CONFIG.format(port=port, admin=admin, origin=origin, memory=MEMORY_MIB))
    (work / 'origin.conf').write_text(ORIGIN.format(work=work, origin=origin))
    with open(work / 'log', 'ab') as log:
        upstream = start(1, ['nginx', '-c', work / 'origin.conf'], log)
        begin = time.monotonic()
        gateway = start(0, [binary, 'run', work / 'gatewright.yaml', '--state', work / 'state'], log)
    try:
        first, _ = until(port, begin, lambda said: True, 20)
        joined, before = until(port, begin, lambda said: 'hit' in said, 60) if entries else (first, set())
        for number in range(0, entries, max(1, entries // 20_000)):
            ask(port, f'/items/{number}')
        rss, peak = status(gateway.pid, 'VmRSS'), status(gateway.pid, 'VmHWM')
        return first, joined, rss, peak, before
    finally:
        for process in (gateway, upstream):
            process.terminate()
            process.wait()


def main():
    binary = binary_of(sys.argv)
    with tempfile.TemporaryDirectory(prefix='gatewright-bench-') as folder:
        work = pathlib.Path(folder)
        empty = measure(binary, work, 0)
        fill = ['cargo', 'bench', '--bench', 'store', '--', 'fill', work / 'state' / 'cache', str(ENTRIES)]
        subprocess.run(fill, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        first, joined, rss, peak, before = measure(binary, work, ENTRIES)
        said = (work / 'log').read_text()
        if joined - first > 0.3 and ('still being opened' not in said or 'has joined' not in said):
            sys.exit(f'the log does not say that the cache joins late:\n{said}')
    extra = (rss - empty[2] - MEMORY_MIB) * 2**20 / ENTRIES
    print(f'\n| answers on disk | first answer | they have joined | RSS | peak | beyond an empty gateway and {MEMORY_MIB} MiB |')
    print('| ---: | ---: | ---: | ---: | ---: | ---: |')
    print(f'| 0 | {empty[0] * 1000:.0f} ms | | {empty[2]:.0f} MiB | {empty[3]:.0f} MiB | |')
    print(f'| {ENTRIES} | {first * 1000:.0f} ms | {joined * 1000:.0f} ms | {rss:.0f} MiB | {peak:.0f} MiB | {extra:.0f} bytes per answer |')
    print(f'\nUntil then: {sorted(before)}')


if __name__ == '__main__':
    main()
