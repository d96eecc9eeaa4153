/** Families of figures in Prometheus' text exposition format, version 0.0.4. */

export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

type Labels = Readonly<Record<string, string>>;
export type Sample = readonly [labels: Labels, value: number];

export interface Family {
  /** Whole. */
  readonly name: string;
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly samples: readonly (readonly [...Sample, suffix?: string])[];
}

/** `bounds`: upper ones, rising; `counts`: of each bucket alone, one more than bounds; `sum`: of what was counted. */
export interface HistogramFigures {
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
  readonly sum: number;
}

const OWN = 'vswitchd_';

const familyOf =
  (kind: 'counter' | 'gauge', prefix: string) =>
  (name: string, help: string, samples: readonly Sample[]): Family => ({
    name: `${prefix}${name}`,
    kind,
    help,
    samples,
  });

export const gauge = familyOf('gauge', OWN);
export const counter = familyOf('counter', OWN);
/** Those whose names are everybody's. */
export const commonGauge = familyOf('gauge', '');
export const commonCounter = familyOf('counter', '');

export function histogram(name: string, help: string, { bounds, counts, sum }: HistogramFigures): Family {
  let total = 0;
  const samples = counts.map((count, index): readonly [...Sample, string] => {
    total += count;
    return [{ le: index < bounds.length ? String(bounds[index]) : '+Inf' }, total, '_bucket'];
  });
  return {
    name: `${OWN}${name}`,
    kind: 'histogram',
    help,
    samples: [...samples, [{}, sum, '_sum'], [{}, total, '_count']],
  };
}

export const one = (value: number): Sample[] => [[{}, value]];

export const by = (label: string, counts: Readonly<Record<string, number>>): Sample[] =>
  Object.entries(counts).map(([key, count]) => [{ [label]: key }, count]);

export const textOf = (families: readonly Family[]): string => families.map(familyText).join('');

const familyText = ({ name, kind, help, samples }: Family): string =>
  [
    `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`,
    `# TYPE ${name} ${kind}`,
    ...samples.map(([labels, value, suffix = '']) => `${name}${suffix}${labelsText(labels)} ${value}`),
    '',
  ].join('\n');

function labelsText(labels: Labels): string {
  const words = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return words.length === 0 ? '' : `{${words.join(',')}}`;
}

const escaped = (value: string): string =>
  value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
