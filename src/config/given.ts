/** What the operator has given, on the command line and in a file: parsed setting by setting, and where each came from. */
import { readFileSync } from 'node:fs';
import { parse as parseToml } from 'smol-toml';
import { OperatorError } from '../errors.ts';
import { type SettingName, Settings } from '../options.ts';

/** Characters of a value in a sentence. */
const MAX_SHOWN = 200;

/** What the options and the file say, as it was written: the settings' names with text, or with the file's values. */
export type Given = Readonly<Record<string, unknown>>;

/** The settings of the options and of the file, which remember where each came from. */
export class GivenSettings {
  readonly #raw: { readonly options: Given; readonly file: Given };
  readonly #parsed: { readonly options: Settings; readonly file: Settings };
  readonly #fileName: string | undefined;

  constructor(options: Given, fileName: string | undefined) {
    this.#fileName = fileName;
    this.#raw = { options, file: fileName === undefined ? {} : readSettingsFile(fileName) };
    this.#parsed = { options: this.#parse(options, undefined), file: this.#parse(this.#raw.file, fileName) };
  }

  value<K extends SettingName>(name: K): Settings[K] {
    return this.#parsed.options[name] ?? this.#parsed.file[name];
  }

  need<K extends SettingName>(name: K, expected: string): NonNullable<Settings[K]> {
    const value = this.value(name);
    if (value === undefined || value === null)
      throw new OperatorError(`--${name} is missing; expected ${expected}`, { code: 'Usage' });
    return value;
  }

  refuse(name: SettingName, why: string): never {
    const inOptions = this.#raw.options[name] !== undefined;
    const raw = inOptions ? this.#raw.options : this.#raw.file;
    throw refusal(name, raw[name], why, inOptions ? undefined : this.#fileName);
  }

  #parse(raw: Given, fileName: string | undefined): Settings {
    const result = Settings.safeParse(raw);
    if (result.success) return result.data;
    const issue = result.error.issues[0]!;
    if (issue.code === 'unrecognized_keys')
      throw new OperatorError(
        `${fileName ?? 'options'}: unknown key ${issue.keys.map(key => JSON.stringify(key)).join(', ')}; ` +
          `expected one of ${Object.keys(Settings.shape).join(', ')}`,
        { code: 'Usage' },
      );
    const name = String(issue.path[0]);
    throw refusal(name, raw[name], issue.message, fileName);
  }
}

function refusal(name: string, value: unknown, why: string, fileName: string | undefined): OperatorError {
  // An option that may be given again is a list, of one as a rule; in a file a list is what was written.
  const one: unknown =
    fileName === undefined && Array.isArray(value) && value.length === 1 ? value[0] : value;
  const whole = typeof one === 'string' && /^\S+$/.test(one) ? one : String(JSON.stringify(one));
  const shown = whole.length > MAX_SHOWN ? `${whole.slice(0, MAX_SHOWN)}…` : whole;
  const subject = fileName === undefined ? `--${name} ${shown}` : `${fileName}: ${name} = ${shown}`;
  return new OperatorError(`${subject}: ${why}`, { code: 'Usage' });
}

/** TOML, or JSON where the name ends so. */
function readSettingsFile(fileName: string): Given {
  const settings = parsedFile(fileName);
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings))
    throw new OperatorError(`${fileName}: is no object; expected options' names as keys`, { code: 'Usage' });
  return settings as Given;
}

function parsedFile(fileName: string): unknown {
  let text: string;
  try {
    text = readFileSync(fileName, 'utf8');
  } catch (cause) {
    throw new OperatorError(
      `--config ${fileName}: cannot be read (${(cause as NodeJS.ErrnoException).code}); expected a TOML file with options' names as keys`,
      { code: 'Usage', cause },
    );
  }
  try {
    return fileName.endsWith('.json') ? JSON.parse(text) : parseToml(text);
  } catch (cause) {
    const [reason = ''] = (cause as Error).message.split('\n');
    throw new OperatorError(`${fileName}: ${reason}; expected lines such as subnet = "192.168.100.0/24"`, {
      code: 'Usage',
      cause,
    });
  }
}
