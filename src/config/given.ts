/** What the operator has given, on the command line and in a file: parsed setting by setting, and where each came from. */
import { readFileSync } from 'node:fs';
import { parse as parseToml, TomlError } from 'smol-toml';
import { OperatorError } from '../errors.ts';
import { type SettingName, Settings } from '../options.ts';
import { locate, type Position, positionAt } from './locate.ts';

/** Characters of a value in a sentence. */
const MAX_SHOWN = 200;

/** What the options and the file say, as it was written: the settings' names with text, or with the file's values. */
export type Given = Readonly<Record<string, unknown>>;

export type FileFormat = 'toml' | 'json';

/** A file of settings. */
export interface SettingsFile {
  /** What refusals call it. */
  readonly name: string;
  readonly text: string;
  readonly format: FileFormat;
  /** Does it win over options? As a rule these win. */
  readonly wins?: boolean;
}

/** TOML, or JSON where the name ends so. */
export function readSettingsFile(name: string): SettingsFile {
  try {
    return { name, text: readFileSync(name, 'utf8'), format: formatOf(name) };
  } catch (cause) {
    throw new OperatorError(
      `--config ${name}: cannot be read (${(cause as NodeJS.ErrnoException).code}); expected a TOML file with options' names as keys`,
      { code: 'Usage', cause },
    );
  }
}

const formatOf = (name: string): FileFormat => (name.endsWith('.json') ? 'json' : 'toml');

/** The settings of the options and of the file, which remember where each came from. */
export class GivenSettings {
  readonly #raw: { readonly options: Given; readonly file: Given };
  readonly #parsed: { readonly options: Settings; readonly file: Settings };
  readonly #file: SettingsFile | undefined;

  /** `file`: or the name of one, which is read. */
  constructor(options: Given, file: SettingsFile | string | undefined) {
    this.#file = typeof file === 'string' ? readSettingsFile(file) : file;
    const inFile = this.#file === undefined ? {} : settingsIn(this.#file);
    this.#raw = { options: this.#file?.wins === true ? beside(inFile, options) : options, file: inFile };
    this.#parsed = { options: parsed(this.#raw.options, undefined), file: parsed(inFile, this.#file) };
  }

  value<K extends SettingName>(name: K): Settings[K] {
    const { options, file } = this.#parsed;
    return this.#file?.wins === true ? (file[name] ?? options[name]) : (options[name] ?? file[name]);
  }

  need<K extends SettingName>(name: K, expected: string): NonNullable<Settings[K]> {
    const value = this.value(name);
    if (value === undefined || value === null)
      throw new OperatorError(`--${name} is missing; expected ${expected}`, { code: 'Usage' });
    return value;
  }

  /** What counts of both, as it was written. */
  get written(): Given {
    const { options, file } = this.#raw;
    return this.#file?.wins === true ? { ...options, ...file } : { ...file, ...options };
  }

  /** `item`: which one of several is at fault. */
  refuse(name: SettingName, why: string, item?: number): never {
    const { options, file } = this.#raw;
    const inFile = options[name] === undefined || (this.#file?.wins === true && file[name] !== undefined);
    throw refusal(name, inFile ? file[name] : options[name], why, inFile ? this.#file : undefined, item);
  }
}

/** Options beside a file that wins over them: taps and ports are one list, which the one or the other has. */
function beside(file: Given, options: Given): Given {
  if (file.taps === undefined && file.port === undefined) return options;
  const { taps: _taps, port: _port, ...others } = options;
  return others;
}

function parsed(raw: Given, file: SettingsFile | undefined): Settings {
  const result = Settings.safeParse(raw);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  if (issue.code === 'unrecognized_keys') {
    const { name, where } = placeOf(file, issue.keys[0] as string);
    throw new OperatorError(
      `${name}${where}: unknown key ${issue.keys.map(key => JSON.stringify(key)).join(', ')}; ` +
        `expected one of ${Object.keys(Settings.shape).join(', ')}`,
      { code: 'Usage' },
    );
  }
  const name = String(issue.path[0]) as SettingName;
  const value = raw[name];
  const item = file !== undefined && Array.isArray(value) ? culprit(name, value) : undefined;
  throw refusal(name, value, issue.message, file, item);
}

/** The first item of a list with which the items before it are refused; undefined: it is none of them alone. */
function culprit(name: SettingName, list: readonly unknown[]): number | undefined {
  const refused = (count: number): boolean => !Settings.shape[name].safeParse(list.slice(0, count)).success;
  if (refused(0)) return undefined;
  let [fine, wrong] = [0, list.length];
  while (wrong - fine > 1) {
    const middle = (fine + wrong) >> 1;
    if (refused(middle)) wrong = middle;
    else fine = middle;
  }
  return fine;
}

function placeOf(
  file: SettingsFile | undefined,
  key: string,
  item?: number,
): { readonly name: string; readonly where: string } {
  if (file === undefined) return { name: 'options', where: '' };
  return { name: file.name, where: whereText(locate(file.text, file.format, key, item)) };
}

const whereText = (at: Position | undefined): string => (at === undefined ? '' : `:${at.line}:${at.column}`);

function refusal(
  name: string,
  value: unknown,
  why: string,
  file: SettingsFile | undefined,
  item?: number,
): OperatorError {
  const { name: fileName, where } = placeOf(file, name, item);
  // An option that may be given again is a list, of one as a rule; in a file a list is what was written.
  const only = file === undefined && Array.isArray(value) && value.length === 1 ? 0 : undefined;
  const at = file === undefined ? only : item;
  const one: unknown = Array.isArray(value) && at !== undefined ? value[at] : value;
  const whole = typeof one === 'string' && /^\S+$/.test(one) ? one : String(JSON.stringify(one));
  const shown = whole.length > MAX_SHOWN ? `${whole.slice(0, MAX_SHOWN)}…` : whole;
  const subject = file === undefined ? `--${name} ${shown}` : `${fileName}${where}: ${name} = ${shown}`;
  return new OperatorError(`${subject}: ${why}`, { code: 'Usage' });
}

function settingsIn(file: SettingsFile): Given {
  const settings = parsedFile(file);
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings))
    throw new OperatorError(`${file.name}: is no object; expected options' names as keys`, { code: 'Usage' });
  return settings as Given;
}

function parsedFile({ name, text, format }: SettingsFile): unknown {
  try {
    return format === 'json' ? JSON.parse(text) : parseToml(text);
  } catch (cause) {
    const [reason = ''] = (cause as Error).message.split('\n');
    const where = whereText(cause instanceof TomlError ? cause : jsonFault(text, reason));
    throw new OperatorError(
      `${name}${where}: ${reason}; expected lines such as subnet = "192.168.100.0/24"`,
      {
        code: 'Usage',
        cause,
      },
    );
  }
}

/** V8 says where in some of its sentences; else it is the end of the shortest beginning that nothing could mend. */
function jsonFault(text: string, reason: string): Position {
  const offset = positionIn(reason);
  if (offset !== undefined) return positionAt(text, offset);
  let [fine, wrong] = [0, text.length];
  while (wrong - fine > 1) {
    const middle = (fine + wrong) >> 1;
    if (mayGoOn(text.slice(0, middle))) fine = middle;
    else wrong = middle;
  }
  return positionAt(text, fine);
}

const positionIn = (reason: string): number | undefined => {
  const digits = / position (\d+)/.exec(reason)?.[1];
  return digits === undefined ? undefined : Number(digits);
};

/** Is a text JSON, or the beginning of some? */
function mayGoOn(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const { message } = error as Error;
    return (positionIn(message) ?? 0) >= text.length || message.startsWith('Unexpected end');
  }
}
