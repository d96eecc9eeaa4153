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

const indented = (lines: readonly string[], by: string): string[] =>
  lines.flatMap(text => text.split('\n')).map(line => `${by}${line}`);

export function diagnosisText({ mended, findings }: Diagnosis): string {
  const lines = [...mended.flatMap(mendedLines), ...findings.flatMap(findingLines)];
  const fixable = findings.some(finding => finding.ours);
  if (fixable && mended.length === 0)
    lines.push('', "those marked 'ours' are applied by: vswitchctl doctor --fix");
  if (findings.length === 0) lines.push('nothing wrong found');
  return lines.join('\n');
}

const mendedLines = ({ id, done, fault }: MendedView): string[] => [
  fault === undefined ? `mended   ${id}` : `not mended ${id}: ${fault}`,
  ...indented(done, '           '),
];

const findingLines = ({ severity, what, fix, lasting = [], ours }: FindingView): string[] => [
  `${severity.padEnd(7)}  ${what}`,
  ...indented(fix, ours ? '    ours   ' : '    yours  '),
  ...indented(lasting, '    to last '),
];
