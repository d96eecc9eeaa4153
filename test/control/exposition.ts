/**
 * Reads Prometheus' text exposition format, version 0.0.4, as strictly as it is described: what a lenient scraper would let
 * pass is thrown.
 */

export interface ReadFamily {
  readonly name: string;
  readonly kind: string;
  readonly help: string;
  /** By name and labels, as they were written. */
  readonly samples: Map<string, number>;
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"';
const HELP = new RegExp(`^# HELP (${NAME}) ((?:[^\\\\]|\\\\[\\\\n])*)$`);
const TYPE = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram|summary|untyped)$`);
const SAMPLE = new RegExp(
  `^(${NAME})(?:\\{(${LABEL}(?:,${LABEL})*)\\})? ([+-]?Inf|NaN|[+-]?\\d+(?:\\.\\d+)?(?:e[+-]?\\d+)?)$`,
);
const KINDS: Readonly<Record<string, readonly string[]>> = { histogram: ['_bucket', '_sum', '_count'] };

/** The families by name. Each has its help and its type, once, in this order, and then all of its samples. */
export function readExposition(text: string): Map<string, ReadFamily> {
  const lines = text.split('\n');
  if (lines.pop() !== '') throw new Error('the last line does not end');
  const families = new Map<string, ReadFamily>();
  let present: ReadFamily | undefined;
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i] as string;
    const [, named, help = ''] = HELP.exec(line) ?? [];
    if (named !== undefined) {
      const [, typed, kind = ''] = TYPE.exec(lines[++i] ?? '') ?? [];
      if (typed !== named) throw new Error(`no type follows: ${line}`);
      if (families.has(named)) throw new Error(`twice: ${named}`);
      if ((kind === 'counter') !== named.endsWith('_total')) throw new Error(`badly named ${kind}: ${named}`);
      present = { name: named, kind, help, samples: new Map() };
      families.set(named, present);
    } else addSample(present, line);
  }
  for (const family of families.values()) if (family.kind === 'histogram') checkHistogram(family);
  return families;
}

function addSample(family: ReadFamily | undefined, line: string): void {
  const [, name = '', labels = '', value = ''] = SAMPLE.exec(line) ?? [];
  if (name === '') throw new Error(`no line of the format: ${line}`);
  const suffixes = KINDS[family?.kind ?? ''] ?? [''];
  if (family === undefined || !suffixes.some(suffix => name === `${family.name}${suffix}`))
    throw new Error(`not of the family before it: ${line}`);
  const names = [...labels.matchAll(/([a-zA-Z0-9_]+)="(?:[^"\\]|\\.)*"/g)].map(match => match[1]);
  if (new Set(names).size !== names.length) throw new Error(`a label twice: ${line}`);
  const key = labels === '' ? name : `${name}{${labels}}`;
  if (family.samples.has(key)) throw new Error(`a series twice: ${line}`);
  const figure = Number(value.replace('Inf', 'Infinity'));
  if (family.kind !== 'gauge' && !(figure >= 0)) throw new Error(`below nothing: ${line}`);
  family.samples.set(key, figure);
}

/** Of one series: bounds and counts rise, the last bucket is +Inf and has all. */
function checkHistogram({ name, samples }: ReadFamily): void {
  let [bound, count] = [Number.NEGATIVE_INFINITY, 0];
  for (const [key, value] of samples) {
    const [, le] = /_bucket\{le="([^"]+)"\}$/.exec(key) ?? [];
    if (le === undefined) continue;
    const next = Number(le.replace('Inf', 'Infinity'));
    if (!(next > bound && value >= count)) throw new Error(`the buckets do not rise: ${key} ${value}`);
    [bound, count] = [next, value];
  }
  if (
    bound !== Number.POSITIVE_INFINITY ||
    samples.get(`${name}_count`) !== count ||
    !samples.has(`${name}_sum`)
  )
    throw new Error(`${name} is no whole histogram`);
}
