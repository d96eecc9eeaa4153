/**
 * Where in a file's text a setting stands, and each item of its list: for refusals that an editor can jump to. The text has been
 * read by a parser already, so it is well formed; here it is only walked along. TOML and JSON write strings, lists and nested
 * values alike, as far as their ends are concerned.
 */
import type { FileFormat } from './given.ts';

/** Counted from 1, as editors do; columns in UTF-16 code units. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Offsets in the text. */
interface Place {
  readonly key: number;
  readonly items: readonly number[];
}

/** Where a key stands, or the `item`th of its list; undefined: nowhere. A list's item that is not to be found is at its key. */
export function locate(text: string, format: FileFormat, key: string, item?: number): Position | undefined {
  const place = new Walk(text, format).places().get(key);
  if (place === undefined) return undefined;
  return positionAt(text, place.items[item ?? -1] ?? place.key);
}

export function positionAt(text: string, offset: number): Position {
  const before = text.slice(0, offset);
  return { line: before.split('\n').length, column: offset - before.lastIndexOf('\n') };
}

const SPACE = /[ \t\r\n]/;
const CLOSES: Readonly<Record<string, string>> = { '[': ']', '{': '}' };
/** Of a TOML key without quotes, and of a number or word. */
const BARE = /[A-Za-z0-9_+:.-]/;

class Walk {
  readonly #text: string;
  readonly #format: FileFormat;
  #at = 0;

  constructor(text: string, format: FileFormat) {
    this.#text = text;
    this.#format = format;
  }

  /** The keys at the top; what is in tables of TOML stands under the table's name. */
  places(): Map<string, Place> {
    const places = new Map<string, Place>();
    const note = (key: string, place: Place): void => {
      if (!places.has(key)) places.set(key, place);
    };
    let table: string | undefined;
    if (this.#format === 'json') this.#until('{');
    for (this.#skip(); this.#at < this.#text.length && this.#char !== '}'; this.#skip()) {
      const begin = this.#at;
      if (this.#char === '[') {
        while (this.#char === '[') this.#at++;
        this.#skip();
        table = this.#key();
        this.#line();
        note(table, { key: begin, items: [] });
        continue;
      }
      const key = this.#key();
      this.#until(this.#format === 'json' ? ':' : '=');
      const items = this.#value();
      if (table === undefined) note(key, { key: begin, items });
      if (this.#is(',')) this.#at++;
      else if (this.#at === begin) break; // no text that a parser takes
    }
    return places;
  }

  get #char(): string {
    return this.#text[this.#at] ?? '';
  }

  #is(char: string): boolean {
    return this.#char === char;
  }

  /** Past space and TOML's comments. */
  #skip(): void {
    for (;;) {
      while (SPACE.test(this.#char)) this.#at++;
      if (this.#char !== '#' || this.#format === 'json') return;
      this.#line();
    }
  }

  #line(): void {
    const end = this.#text.indexOf('\n', this.#at);
    this.#at = end < 0 ? this.#text.length : end;
  }

  /** Past the next of these characters. */
  #until(char: string): void {
    const found = this.#text.indexOf(char, this.#at);
    this.#at = found < 0 ? this.#text.length : found + 1;
    this.#skip();
  }

  /** The key, or the first part of a dotted one. */
  #key(): string {
    const begin = this.#at;
    if (this.#char === '"' || this.#char === "'") {
      this.#string();
      const quoted = this.#text.slice(begin, this.#at);
      return quoted.startsWith('"') ? unescaped(quoted) : quoted.slice(1, -1);
    }
    while (BARE.test(this.#char) && this.#char !== '.') this.#at++;
    return this.#text.slice(begin, this.#at);
  }

  /** Past a value; where the items are, if it is a list. */
  #value(): number[] {
    this.#skip();
    const items: number[] = [];
    if (this.#char === '"' || this.#char === "'") this.#string();
    else if (CLOSES[this.#char] !== undefined) this.#nested(items);
    else while (BARE.test(this.#char)) this.#at++;
    this.#skip();
    return items;
  }

  #nested(items: number[]): void {
    const list = this.#char === '[';
    const close = CLOSES[this.#char];
    this.#at++;
    for (this.#skip(); this.#char !== close && this.#at < this.#text.length; this.#skip()) {
      const begin = this.#at;
      if (list) items.push(begin);
      else {
        this.#key();
        while (this.#char !== '=' && this.#char !== ':' && this.#char !== '') this.#at++;
        this.#at++;
      }
      this.#value();
      if (this.#is(',') || this.#at === begin) this.#at++;
    }
    this.#at++;
  }

  /** Past a string, with one quotation mark or three around it. */
  #string(): void {
    const quote = this.#char;
    const long = this.#format === 'toml' && this.#text.startsWith(quote.repeat(3), this.#at);
    const end = long ? quote.repeat(3) : quote;
    this.#at += end.length;
    while (this.#at < this.#text.length && !this.#text.startsWith(end, this.#at))
      this.#at += quote === '"' && this.#char === '\\' ? 2 : 1;
    this.#at += end.length;
    // up to two more may stand before the three that end it
    if (long) while (this.#char === quote) this.#at++;
  }
}

function unescaped(quoted: string): string {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted.slice(1, -1); // an escape of TOML's own: such a key is no setting
  }
}
