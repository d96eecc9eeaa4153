/** The history of benchmarks: this run against the last one on the same CPU. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compare } from '../../bench/history.ts';

const CPU = `${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown'}`;

const line = (bench: string, date: string, value: number, cpu = CPU): string =>
  JSON.stringify({
    date,
    commit: 'abc1234',
    cpu,
    node: 'v20',
    bench,
    figures: [{ what: 'rate', unit: 'M/s', value }],
  });

function withHistory(lines: readonly string[], act: (file: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'vswitchd-history-'));
  try {
    const file = join(folder, 'history.jsonl');
    writeFileSync(file, lines.map(text => `${text}\n`).join(''));
    act(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test('history: the last two runs of a benchmark on this CPU, and their ratio', () => {
  const lines = [
    line('nat', '2026-01-01T00:00:00Z', 1),
    line('nat', '2026-01-02T00:00:00Z', 4),
    line('nat', '2026-01-03T00:00:00Z', 100, 'another'),
    line('tap', '2026-01-03T00:00:00Z', 7),
    line('nat', '2026-01-04T00:00:00Z', 6),
  ];
  withHistory(lines, file => {
    const text = compare(['nat', 'tap'], file);
    assert.match(text, /NAT +UNIT +abc1234 2026-01-02T00:00 +abc1234 2026-01-04T00:00 +RATIO/);
    assert.match(text, /rate +M\/s +4 +6 +1\.50/);
    assert.not.match(text, /TAP|100/);
  });
});

test('history: too few runs, and a line that is none, are told', () => {
  withHistory([line('nat', '2026-01-01T00:00:00Z', 1)], file =>
    assert.match(compare(['nat'], file), /^fewer than two runs/),
  );
  withHistory([line('nat', '2026-01-01T00:00:00Z', 1), 'no JSON'], file =>
    assert.throws(() => compare(['nat'], file), /history\.jsonl, line 2: expected JSON/),
  );
});

test.run();
