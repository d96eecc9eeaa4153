/** What the doctor says: one sentence on what is wrong and where, and the commands that mend it. */
import { type Change, describe, tableText } from '../changes.ts';

/** `error`: guests' network is broken, or a start will fail. `warning`: something may break it. `note`: good to know. */
export type Severity = 'error' | 'warning' | 'note';

/** A command line, as one would type it; and how `--fix` does it, where it is ours to do. */
export interface Step {
  readonly text: string;
  readonly change?: Change;
  readonly command?: { readonly tool: string; readonly words: readonly string[] };
}

export interface Finding {
  /** What kind of finding it is, for programs. */
  readonly id: string;
  readonly severity: Severity;
  readonly what: string;
  readonly fix: readonly Step[];
  /** What makes the fix last, where it is forgotten at the next boot; never done by `--fix`. */
  readonly lasting?: readonly string[];
}

/** For the operator to do: it concerns more than this switch. */
export const yours = (text: string): Step => ({ text });

/** A command that concerns this switch alone; words apart by one blank. */
export function ours(text: string): Step {
  const [tool = '', ...words] = text.split(' ');
  return { text, command: { tool, words } };
}

/** A change of the kind that the switch makes itself, and undoes. */
export const again = (change: Change): Step => ({
  // A table in quotes: other than behind <<END its lines may be indented when they are pasted.
  text:
    change.kind === 'table'
      ? `nft '${tableText(change).trimEnd()}'`
      : describe(change).replace(/ +# was .*$/, ''),
  change,
});

/** May `--fix` apply it? */
export const isOurs = ({ fix }: Finding): boolean =>
  fix.length > 0 && fix.every(step => step.change !== undefined || step.command !== undefined);
