/**
 * A running switch takes another configuration: what differs is changed, a step after the other, and the rest is not touched. If a
 * step fails, those before it are undone; if something differs that takes a restart, or the file is wrong, nothing is done.
 */
import { type Difference, differences, forwardText, type Living } from './config/diff.ts';
import { type Given, GivenSettings, readSettingsFile, type SettingsFile } from './config/given.ts';
import { type Config, configOf, type EgressConfig } from './config.ts';
import { OperatorError } from './errors.ts';
import type { ConfigEvent } from './events/bus.ts';
import { type Forwarding, nameOf } from './forwarding.ts';
import type { Log } from './log.ts';
import type { Ports } from './ports.ts';
import { configuredPorts } from './porttable.ts';
import { parseForwards } from './settings/forward.ts';
import { parseOne } from './settings/ports.ts';
import { Refusal } from './settings/schema.ts';

/** What a switch was started with, as it was written: its options, and its file. */
export interface Source {
  readonly options: Given;
  readonly file: string | undefined;
  /** What counts of both. */
  readonly written: Given;
}

export interface ReconfigureParts {
  /** As the switch was started. */
  readonly config: Config;
  /** Makes DHCP, names and what knows of reservations go by a configuration. */
  serve(config: Config): Promise<void>;
  /** Makes egress rules hold, which may be about ports of these names, there or not. */
  police(egress: EgressConfig, ports: readonly string[]): void;
  readonly source: Source;
  readonly ports: Pick<Ports, 'add' | 'remove' | 'texts'>;
  readonly forwarding: Pick<Forwarding, 'add' | 'remove' | 'list'>;
  readonly log: Pick<Log, 'level' | 'info' | 'warn' | 'error'>;
  told(event: ConfigEvent): void;
}

/** What has steps of its own. */
const LIVING: readonly Difference['setting'][] = ['port', 'forward', 'log-level', 'egress', 'egress-rule'];
const EGRESS: readonly Difference['setting'][] = ['egress', 'egress-rule', 'dns'];

interface Step {
  act(): Promise<void>;
  undo(): Promise<void>;
}

export class Reconfigure {
  readonly #parts: ReconfigureParts;
  /** As it is by now, but for ports, forwards and the log level; and as it was written. */
  #config: Config;
  #given: Given;
  /** Files are applied one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: ReconfigureParts) {
    this.#parts = parts;
    const { config, source } = parts;
    this.#config = config;
    this.#given = source.written;
  }

  /** What the switch does now, as a file would say it. */
  written(): Given {
    const { taps: _taps, forward: _forward, ...given } = this.#given;
    const { ports, forwards, logLevel } = this.#living();
    return {
      ...given,
      port: ports,
      ...(forwards.length === 0 ? {} : { forward: forwards }),
      'log-level': logLevel,
    };
  }

  /** What applying a file would change. Throws an OperatorError where the file is wrong. */
  diff(file: SettingsFile): Difference[] {
    return this.#against(configOf(this.#read(file)));
  }

  #against(wanted: Config): Difference[] {
    return differences(this.#config, this.#living(), wanted);
  }

  #read(file: SettingsFile): GivenSettings {
    return new GivenSettings(this.#parts.source.options, file);
  }

  /** Changes what differs, and tells what that was; where it throws, nothing has changed. */
  apply(file: SettingsFile): Promise<Difference[]> {
    return this.#inTurn(file.name, () => file);
  }

  /** The same of the file that the switch was started with; options win over it as they did then. */
  async reload(): Promise<void> {
    const { file } = this.#parts.source;
    if (file === undefined) {
      this.#parts.log.warn('SIGHUP: there is no file to be read again; expected a start with --config FILE');
      return;
    }
    try {
      await this.#inTurn(file, () => readSettingsFile(file));
    } catch {
      // it has been told of
    }
  }

  #inTurn(name: string, read: () => SettingsFile): Promise<Difference[]> {
    const turn = this.#last.then(() => this.#apply(name, read));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #apply(name: string, read: () => SettingsFile): Promise<Difference[]> {
    const { log, told } = this.#parts;
    try {
      const given = this.#read(read());
      const wanted = configOf(given);
      const found = this.#against(wanted);
      const fixed = found.filter(({ restart }) => restart).map(({ setting }) => setting);
      if (fixed.length > 0)
        throw new OperatorError(
          `${name}: ${fixed.join(', ')} can't be changed while the switch runs; expected them as they are, or a restart`,
          { code: 'Busy' },
        );
      await takeSteps(this.#steps(found, wanted), error =>
        log.error({ err: error }, `${name}: while undoing`),
      );
      const changes = found.reduce(
        (sum, { removed, added }) => sum + Math.max(removed.length, added.length, 1),
        0,
      );
      this.#config = wanted;
      this.#given = given.written;
      log.info(`${name}: applied, ${changes} changes`);
      told({ event: 'config-applied', file: name, changes });
      return found;
    } catch (error) {
      const reason = (error as Error).message;
      log.warn(`${reason}; nothing was changed`);
      told({ event: 'config-refused', file: name, reason });
      throw error;
    }
  }

  #living(): Living {
    const { ports, forwarding, log } = this.#parts;
    return {
      ports: ports.texts(),
      forwards: forwarding.list().map(forwardText),
      logLevel: log.level as Config['logLevel'],
    };
  }

  /** What goes goes first: the next may have its name, its path or its port of the host. */
  #steps(found: readonly Difference[], wanted: Config): Step[] {
    const { ports, forwarding, log, serve } = this.#parts;
    const before = this.#config;
    const of = (setting: Difference['setting'], which: 'removed' | 'added'): readonly string[] =>
      found.find(each => each.setting === setting)?.[which] ?? [];
    const port = (text: string): Step => ({
      act: () => ports.add(text),
      undo: () => ports.remove(portName(text)),
    });
    const forward = (text: string): Step => ({
      act: () => forwarding.add(text),
      undo: () => forwarding.remove(forwardName(text)),
    });
    const [level] = of('log-level', 'added');
    const levelBefore = log.level;
    const serves = found.some(({ setting }) => !LIVING.includes(setting));
    const setLevel = (to: string) => async (): Promise<void> => {
      log.level = to;
    };
    const [first, last] = this.#rules(found, wanted);
    return [
      ...first,
      ...of('forward', 'removed').map(text => reversed(forward(text))),
      ...of('port', 'removed').map(text => reversed(port(text))),
      ...of('port', 'added').map(port),
      ...(serves ? [{ act: () => serve(wanted), undo: () => serve(before) }] : []),
      ...of('forward', 'added').map(forward),
      ...(level === undefined ? [] : [{ act: setLevel(level), undo: setLevel(levelBefore) }]),
      ...last,
    ];
  }

  /** Rules about a port hold before it comes; and those about one that goes till it has gone, before all others. */
  #rules(found: readonly Difference[], wanted: Config): [first: readonly Step[], last: readonly Step[]] {
    if (!found.some(({ setting }) => EGRESS.includes(setting))) return [[], []];
    const before = this.#config;
    const [old, then] = [configuredPorts(before), configuredPorts(wanted)];
    const both = [...new Set([...then, ...old])];
    const left = before.egress.rules.filter(
      ({ guest, target }) => guest.kind === 'tap' && !then.includes(guest.name) && target.kind !== 'domain',
    );
    const between = { ...wanted.egress, rules: [...left, ...wanted.egress.rules] };
    const police = (egress: EgressConfig, ports: readonly string[]) => async (): Promise<void> =>
      this.#parts.police(egress, ports);
    return [
      [{ act: police(between, both), undo: police(before.egress, old) }],
      both.length === then.length ? [] : [{ act: police(wanted.egress, then), undo: police(between, both) }],
    ];
  }
}

const reversed = ({ act, undo }: Step): Step => ({ act: undo, undo: act });

function portName(text: string): string {
  const port = parseOne(text);
  if (port instanceof Refusal) throw new Error(`${text} ${port.why}`);
  return port.name;
}

function forwardName(text: string): string {
  const parsed = parseForwards([text]);
  if (parsed instanceof Refusal) throw new Error(`${text} ${parsed.why}`);
  return parsed.map(nameOf).join();
}

/** One step after the other; when one fails, those before it are undone, the last first, and its error is thrown. */
async function takeSteps(steps: readonly Step[], failed: (error: unknown) => void): Promise<void> {
  const done: Step[] = [];
  try {
    for (const step of steps) {
      await step.act();
      done.push(step);
    }
  } catch (error) {
    for (const step of done.reverse()) await step.undo().catch(failed);
    throw error;
  }
}
