/**
 * What was measured when, a JSON line a benchmark in bench/history.jsonl: date, commit, CPU, Node, figures. The file is kept
 * in the repository, so that a change can be held against what was measured before it.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { table } from '../src/control/table.ts';
import { projectRoot } from '../src/port/native.ts';

export interface Figure {
  readonly what: string;
  readonly unit: string;
  readonly value: number;
}

interface Entry {
  readonly date: string;
  readonly commit: string;
  readonly cpu: string;
  readonly node: string;
  readonly bench: string;
  readonly figures: readonly Figure[];
}

const FILE = join(projectRoot(), 'bench/history.jsonl');

const cpu = (): string => `${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown'}`;

/** The commit that is checked out, with a plus sign where files differ from it. */
function commit(): string {
  const git = (...words: string[]): string =>
    execFileSync('git', ['-C', projectRoot(), ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '-uno') === '' ? '' : '+');
  } catch {
    return 'unknown';
  }
}

export function record(bench: string, figures: readonly Figure[]): void {
  const entry: Entry = {
    date: new Date().toISOString(),
    commit: commit(),
    cpu: cpu(),
    node: process.version,
    bench,
    figures: figures.map(figure => ({ ...figure, value: Number(figure.value.toPrecision(4)) })),
  };
  appendFileSync(FILE, `${JSON.stringify(entry)}\n`);
}

/** The newest run of each benchmark beside the one before on the same CPU. A line that is no JSON is an error that names it. */
export function compare(names: readonly string[], file = FILE): string {
  const entries = existsSync(file) ? read(file).filter(entry => entry.cpu === cpu()) : [];
  const parts = names.flatMap(name => {
    const [before, now] = entries.filter(({ bench }) => bench === name).slice(-2);
    return before === undefined || now === undefined ? [] : [side(before, now)];
  });
  return parts.length > 0 ? parts.join('\n\n') : `fewer than two runs on ${cpu()} are in the history`;
}

const read = (file: string): Entry[] =>
  readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line, index) => {
      if (line === '') return [];
      try {
        return [JSON.parse(line) as Entry];
      } catch (cause) {
        throw new Error(`${file}, line ${index + 1}: expected JSON`, { cause });
      }
    });

function side(before: Entry, now: Entry): string {
  const label = ({ commit: at, date }: Entry): string => `${at} ${date.slice(0, 16)}`;
  const rows = now.figures.map(({ what, unit, value }) => {
    const old = before.figures.find(figure => figure.what === what)?.value;
    return [what, unit, old ?? '-', value, old === undefined ? '-' : (value / old).toFixed(2)];
  });
  return table([now.bench.toUpperCase(), 'UNIT', label(before), label(now), 'RATIO'], rows);
}
