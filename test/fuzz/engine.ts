/**
 * Coverage-guided fuzzing: inputs are mutated from a corpus, and one that runs code which none has run before joins it. V8 counts, by
 * its profiler's precise coverage (blocks, how often in powers of two).
 *
 * Inputs stand in the repository as text, a line of hexadecimal each: corpus/NAME.txt, what was worth keeping, and
 * regressions/NAME.txt, what has failed once and must not again.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { dirname, join } from 'node:path';
import { projectRoot } from '../../src/port/native.ts';
import { type Random, random } from '../random.ts';

export interface Target {
  readonly name: string;
  /** What mutation begins with, beside the corpus. */
  seeds(): readonly Uint8Array[];
  /** Bytes that mean something here. */
  readonly words?: readonly (string | Uint8Array)[];
  /** Handles an input; throws when it finds a fault, and for nothing that the input may be. */
  run(input: Uint8Array): void;
  /** Whose code counts: paths below dist/src. */
  readonly code: RegExp;
}

export interface Fuzzed {
  readonly runs: number;
  /** Blocks of code that have run, each how often a power of two. */
  readonly blocks: number;
  readonly corpus: readonly Uint8Array[];
}

const FOLDER = join(projectRoot(), 'test/fuzz');
const LONGEST = 4_096;
const MOST_CHANGES = 6;
const INTERESTING = [0, 1, 2, 0x7f, 0x80, 0xc0, 0xfe, 0xff];
/** Runs between two looks at the clock, and at what they have run: in the beginning much is new, and narrowing it down takes longest. */
const [FIRST_TURN, A_TURN] = [32, 512];

const pathOf = (kind: 'corpus' | 'regressions', name: string): string => join(FOLDER, kind, `${name}.txt`);

export const kept = (kind: 'corpus' | 'regressions', name: string): Uint8Array[] =>
  existsSync(pathOf(kind, name))
    ? readFileSync(pathOf(kind, name), 'utf8')
        .split('\n')
        .filter(line => line !== '')
        .map(line => Uint8Array.from(Buffer.from(line, 'hex')))
    : [];

const lineOf = (input: Uint8Array): string => `${Buffer.from(input).toString('hex')}\n`;

export function keepCorpus(name: string, corpus: readonly Uint8Array[]): void {
  mkdirSync(dirname(pathOf('corpus', name)), { recursive: true });
  const lines = [...new Set(corpus.map(lineOf))].sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  writeFileSync(pathOf('corpus', name), lines.join(''));
}

/** What a run leaves counted. */
class Coverage {
  readonly #session = new Session();
  readonly #code: RegExp;
  readonly #seen = new Set<string>();

  constructor(code: RegExp) {
    this.#code = code;
    this.#session.connect();
    this.#post('Profiler.enable');
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  get blocks(): number {
    return this.#seen.size;
  }

  /** Has anything run since the last call that had not run so often before? Now it has. */
  isNew(): boolean {
    const before = this.#seen.size;
    this.#each((block, times) => {
      this.#seen.add(block);
      this.#seen.add(`${block} ${32 - Math.clz32(times)}`);
    });
    return this.#seen.size > before;
  }

  /** Has anything run that had not run at all? Many inputs are asked about at once: asking takes longer than running. */
  mayBeNew(): boolean {
    let found = false;
    this.#each(block => {
      found ||= !this.#seen.has(block);
    });
    return found;
  }

  #each(act: (block: string, times: number) => void): void {
    const { result } = this.#post('Profiler.takePreciseCoverage') as {
      result: {
        url: string;
        functions: { ranges: { startOffset: number; endOffset: number; count: number }[] }[];
      }[];
    };
    for (const { url, functions } of result) {
      if (!this.#code.test(url)) continue;
      for (const { ranges } of functions)
        for (const { startOffset, endOffset, count } of ranges)
          if (count > 0) act(`${url} ${startOffset} ${endOffset}`, count);
    }
  }

  close(): void {
    this.#session.disconnect();
  }

  /** The inspector of one's own thread answers within the call. */
  #post(method: string, params = {}): unknown {
    let answer: unknown;
    this.#session.post(method, params, (error, result) => {
      if (error !== null) throw new Error(`${method}: ${error.message}`);
      answer = result;
    });
    return answer;
  }
}

function mutated(below: Random, corpus: readonly Uint8Array[], words: readonly Uint8Array[]): Uint8Array {
  let bytes = Array.from(corpus[below(corpus.length)] as Uint8Array);
  for (let changes = 1 + below(MOST_CHANGES); changes > 0; changes--) {
    const at = below(bytes.length + 1);
    switch (below(8)) {
      case 0:
        bytes[at] = below(256);
        break;
      case 1:
        bytes[at] = INTERESTING[below(INTERESTING.length)] as number;
        break;
      case 2:
        bytes[at] = ((bytes[at] ?? 0) ^ (1 << below(8))) & 255;
        break;
      case 3:
        bytes.splice(at, 1 + below(8));
        break;
      case 4:
        bytes.splice(at, 0, ...Array.from({ length: 1 + below(8) }, () => below(256)));
        break;
      case 5:
        bytes.splice(at, 0, ...bytes.slice(at, at + 1 + below(32)));
        break;
      case 6:
        if (words.length > 0) bytes.splice(at, below(2) * 4, ...(words[below(words.length)] as Uint8Array));
        break;
      default: {
        const other = corpus[below(corpus.length)] as Uint8Array;
        const from = below(other.length + 1);
        bytes = [...bytes.slice(0, at), ...other.subarray(from)];
      }
    }
  }
  return Uint8Array.from(bytes.slice(0, LONGEST));
}

/** Runs an input; one that fails is written down, and the error says where. */
export function tried(target: Target, input: Uint8Array, seed: number, keeps = true): void {
  try {
    target.run(input);
  } catch (cause) {
    if (keeps) {
      mkdirSync(join(FOLDER, 'regressions'), { recursive: true });
      appendFileSync(pathOf('regressions', target.name), lineOf(input));
    }
    const found = Buffer.from(input).toString('hex');
    throw new Error(
      `${target.name}, seed ${seed}: ${(cause as Error).message}\n  input ${found}, which is kept`,
      { cause },
    );
  }
}

/** Fuzzes for so long; throws at the first fault. `keeps`: writes that down. */
export function fuzz(target: Target, seconds: number, seed: number, keeps = true): Fuzzed {
  const below = random(seed);
  const words = (target.words ?? []).map(word => (typeof word === 'string' ? Buffer.from(word) : word));
  const corpus: Uint8Array[] = [];
  const coverage = new Coverage(target.code);
  let runs = 0;
  let turn = FIRST_TURN;
  /** Of inputs that have run new code together, finds those that do. */
  const narrow = (inputs: readonly Uint8Array[]): void => {
    const half = inputs.length >> 1;
    for (const part of half === 0 ? [inputs] : [inputs.slice(0, half), inputs.slice(half)]) {
      for (const input of part) tried(target, input, seed, keeps);
      if (half === 0) {
        if (coverage.isNew()) corpus.push(...part);
      } else if (coverage.mayBeNew()) narrow(part);
    }
  };
  try {
    coverage.isNew();
    for (const input of [
      ...target.seeds(),
      ...kept('corpus', target.name),
      ...kept('regressions', target.name),
    ]) {
      tried(target, input, seed, keeps);
      if (coverage.isNew() || corpus.length === 0) corpus.push(input);
      runs++;
    }
    for (const end = performance.now() + seconds * 1_000; performance.now() < end; ) {
      const inputs = Array.from({ length: turn }, () => mutated(below, corpus, words));
      runs += turn;
      for (const input of inputs) tried(target, input, seed, keeps);
      if (coverage.mayBeNew()) narrow(inputs);
      else turn = Math.min(2 * turn, A_TURN);
    }
    return { runs, blocks: coverage.blocks, corpus };
  } finally {
    coverage.close();
  }
}
