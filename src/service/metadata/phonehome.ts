/** What a guest says when it is set up: cloud-init's module phone_home posts a form of its names and its public host keys. */
import type { Fields } from './instances.ts';

export const MAX_FORM_BYTES = 65_536;
const MAX_FIELDS = 32;
const MAX_VALUE = 8_192;
const FIELD = /^[A-Za-z0-9_.-]{1,64}$/;

/** The form's fields in bounds: names of others than letters, digits, '_', '.' and '-' are left out, long values cut. */
export function fieldsOf(form: string): Fields {
  const fields: Record<string, string> = {};
  let count = 0;
  for (const [name, value] of new URLSearchParams(form)) {
    if (!FIELD.test(name) || Object.hasOwn(fields, name) || ++count > MAX_FIELDS) continue;
    Object.defineProperty(fields, name, { value: value.slice(0, MAX_VALUE), enumerable: true });
  }
  return fields;
}
