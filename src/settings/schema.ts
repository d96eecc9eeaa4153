/**
 * How a setting's text becomes the value that the program uses. What a schema refuses, it refuses with the end of a sentence
 * that begins with the option and the value: 'expected …'.
 */
import { z } from 'zod';

/** Why a text is refused. */
export class Refusal {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
}

/** A schema of one text that `parse` makes a value of. */
export const text = <T>(expected: string, parse: (value: string) => T | Refusal) =>
  z.string({ error: expected }).transform((value, context): T => {
    const parsed = parse(value);
    if (!(parsed instanceof Refusal)) return parsed;
    context.addIssue(parsed.why);
    return z.NEVER;
  });

/** The same where a file may have a whole number as well. */
export const textOrWhole = <T>(expected: string, parse: (value: string) => T | Refusal) =>
  z.union([z.string(), z.int().transform(String)], { error: expected }).pipe(text(expected, parse));

/** A schema of several, as one text with commas or as a list in the file. */
export const list = <T>(expected: string, parse: (items: readonly string[]) => readonly T[] | Refusal) =>
  z
    .union([z.string(), z.array(z.string())], { error: expected })
    .transform((value, context): readonly T[] => {
      const parsed = parse(typeof value === 'string' ? value.split(',') : value);
      if (!(parsed instanceof Refusal)) return parsed;
      context.addIssue(parsed.why);
      return z.NEVER;
    });

/** A schema of several whose own texts hold commas: given again and again, or as a list in the file. */
export const repeated = <T>(expected: string, parse: (items: readonly string[]) => readonly T[] | Refusal) =>
  z
    .union([z.string(), z.array(z.string())], { error: expected })
    .transform((value, context): readonly T[] => {
      const parsed = parse(typeof value === 'string' ? [value] : value);
      if (!(parsed instanceof Refusal)) return parsed;
      context.addIssue(parsed.why);
      return z.NEVER;
    });

export function whole(low: number, high: number, unit: string) {
  const error = `expected a whole number of ${unit} from ${low} to ${high}`;
  const digits = z.string().regex(/^\d{1,10}$/);
  return z
    .union([z.number(), digits.transform(Number)], { error })
    .pipe(z.int({ error }).min(low, { error }).max(high, { error }));
}

export const oneOf = <const T extends readonly [string, ...string[]]>(...values: T) =>
  z.enum(values, { error: `expected ${values.slice(0, -1).join(', ')} or ${values.at(-1)}` });
