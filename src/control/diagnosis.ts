/** What `vswitchctl doctor` found, for people. */

export interface FindingView {
  readonly id: string;
  readonly severity: string;
  readonly what: string;
  /** Command lines that mend it. */
  readonly fix: readonly string[];
  /** What makes that last over a boot. */
  readonly lasting?: readonly string[];
  /** Does `--fix` do it? */
  readonly ours: boolean;
}

export interface MendedView {
  readonly id: string;
  readonly done: readonly string[];
  readonly fault?: string;
}

export interface Diagnosis {
  /** What `--fix` has done before these were found. */
  readonly mended: readonly MendedView[];
  readonly findings: readonly FindingView[];
}

/** Behind four blanks, so that what is to be typed stands apart; under a heading, where there is something. */
const under = (heading: string, lines: readonly string[]): string[] =>
  lines.length === 0
    ? []
    : [`  ${heading}:`, ...lines.flatMap(text => text.split('\n')).map(line => `    ${line}`)];

export function diagnosisText({ mended, findings }: Diagnosis): string {
  const lines = [...mended.flatMap(mendedLines), ...findings.flatMap(findingLines)];
  if (findings.length === 0) lines.push('nothing wrong found');
  return lines.join('\n');
}

const mendedLines = ({ id, done, fault }: MendedView): string[] =>
  fault === undefined
    ? [`mended: ${id}`, ...under('by', done)]
    : [`not mended: ${id}, ${fault}`, ...under('which was tried by', done)];

const findingLines = ({ severity, what, fix, lasting = [], ours }: FindingView): string[] => [
  `${severity}: ${what}`,
  ...under(ours ? '--fix does it' : 'to be done', fix),
  ...under('for good', lasting),
];
