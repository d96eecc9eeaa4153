/**
 * vswitchd's command line: text in, one CommandLine out. Nothing is done here, and nothing printed: help and version come
 * back as text, a mistake as an OperatorError with one sentence.
 */
import { Command, CommanderError, Option } from 'commander';
import { type Given, GivenSettings } from './config/given.ts';
import { type Config, configOf, type Place, readPlace, readReplayConfig } from './config.ts';
import { OperatorError } from './errors.ts';
import { GROUPS, SETTINGS } from './options.ts';
import type { Source } from './reconfigure.ts';
import { VERSION } from './version.ts';

export interface ReplayInput {
  readonly port: string;
  readonly path: string;
}

export type CommandLine =
  | { readonly command: 'run'; readonly config: Config; readonly source: Source; readonly dryRun: boolean }
  /** Undo what a killed instance left: needs no network, only the place where its journal is. */
  | { readonly command: 'undo'; readonly place: Place }
  | { readonly command: 'demo' }
  | {
      readonly command: 'replay';
      readonly inputs: readonly ReplayInput[];
      readonly outDir: string;
      readonly config: Config;
    }
  /** Help or the version: to be printed, exit code 0. */
  | { readonly command: 'print'; readonly text: string };

const AFTER_HELP = `
Example:
  vswitchd --subnet 192.168.100.0/24 --taps tap0,tap1

  and a guest on it, started before or after:
  qemu-system-x86_64 -m 512 disk.img \\
    -netdev tap,id=net0,ifname=tap0,script=no,downscript=no \\
    -device virtio-net,netdev=net0,mac=02:4c:40:5b:f7:3c

Exit codes: 0 done, 1 fault, 2 bad usage or missing rights, 3 the name or a tap is taken by somebody else.
'vswitchctl' shows what a running switch does. See docs/operation.md.`;

/** Parses the arguments after the program's name. */
export function parseCommandLine(argv: readonly string[]): CommandLine {
  let result: CommandLine | undefined;
  let printed = '';
  const done = (line: CommandLine): void => {
    result = line;
  };
  const program = vswitchd(done);
  program.addCommand(demoCommand(done)).addCommand(replayCommand(done));
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      writeOut: text => {
        printed += text;
      },
      writeErr: () => undefined, // the sentence is in the error
      getOutHelpWidth: () => Math.min(process.stdout.columns ?? 100, 100),
    });
  }
  try {
    program.parse([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { command: 'print', text: printed.trimEnd() };
    throw new OperatorError(sentence(error, argv), { code: 'Usage' });
  }
  return result!;
}

function vswitchd(done: (line: CommandLine) => void): Command {
  const program = new Command('vswitchd')
    .description(
      'A virtual Ethernet switch with DHCP, DNS and a NAT gateway for virtual machines and namespaces.',
    )
    .usage('--subnet CIDR --taps LIST [options]\n       vswitchd demo | replay')
    .enablePositionalOptions()
    .allowExcessArguments(false)
    .helpCommand(false)
    .addHelpText('after', AFTER_HELP);
  for (const { flags, group, help, ...setting } of Object.values(SETTINGS)) {
    const option = literal(new Option(flags, help)).helpGroup(GROUPS[group]);
    program.addOption('repeated' in setting ? collected(option) : gathered(option));
  }
  for (const [flags, help] of [
    ['--config <FILE>', "TOML with the options' names as keys; options win over it"],
    ['--dry-run', 'print what would be changed on the host, and change nothing'],
    ['--undo', 'undo what a killed instance left on the host, and exit'],
  ] as const)
    program.addOption(new Option(flags, help).helpGroup('Running:'));
  return program
    .optionsGroup('Running:')
    .version(VERSION, '--version', 'print the version')
    .helpOption('--help', 'print this')
    .action(() => {
      const { given, config, dryRun, undo } = optionsOf(program);
      if (undo) done({ command: 'undo', place: readPlace(given, config) });
      else done(runOf(given, config, dryRun));
    });
}

function runOf(options: Given, file: string | undefined, dryRun: boolean): CommandLine {
  const given = new GivenSettings(options, file);
  const source = { options, file, written: given.written };
  return { command: 'run', config: configOf(given), source, dryRun };
}

const demoCommand = (done: (line: CommandLine) => void): Command =>
  new Command('demo')
    .description('show all of it in network namespaces of its own, without a VM')
    .helpOption('--help', 'print this')
    .allowExcessArguments(false)
    .action(() => done({ command: 'demo' }));

function replayCommand(done: (line: CommandLine) => void): Command {
  const replay = new Command('replay')
    .description('run capture files through the same data plane, in memory')
    .helpOption('--help', 'print this')
    .allowExcessArguments(false)
    .addOption(
      gathered(new Option('--in <PORT=FILE>', 'a port and the pcap file of what it receives; once a port')),
    )
    .addOption(new Option('--out <DIR>', 'where to write what each port sent, and the counters'))
    .addOption(new Option('--config <FILE>', 'settings of the switch, TOML or JSON'))
    .addOption(new Option('--subnet <CIDR>', 'the network (default: 192.168.100.0/24)'))
    .addHelpText(
      'after',
      '\nExample:\n  vswitchd replay --in p0=a.pcap --in p1=b.pcap --out result\n\n' +
        'Frames go in by their time stamps. DIR gets one pcap per port and counters.json.',
    );
  return replay.action(() => {
    const options = replay.opts<{ in?: string; out?: string; config?: string; subnet?: string }>();
    if (options.in === undefined) throw missing('--in', 'a port and its capture, such as --in p0=a.pcap');
    if (options.out === undefined) throw missing('--out', 'a folder for the results, such as --out result');
    const given = options.subnet === undefined ? {} : { subnet: options.subnet };
    const config = readReplayConfig(given, options.config);
    done({ command: 'replay', inputs: inputsOf(options.in), outDir: options.out, config });
  });
}

const PORT_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,31}$/; // it names a file too

function inputsOf(text: string): readonly ReplayInput[] {
  const inputs: ReplayInput[] = [];
  for (const item of text.split(',')) {
    const equals = item.indexOf('=');
    const [port, path] = [item.slice(0, Math.max(equals, 0)), item.slice(equals + 1)];
    if (!PORT_NAME.test(port) || path === '')
      throw new OperatorError(`--in ${item}: expected PORT=FILE, such as p0=a.pcap`, { code: 'Usage' });
    if (inputs.some(input => input.port === port))
      throw new OperatorError(`--in ${item}: names ${port} twice; expected each port once`, {
        code: 'Usage',
      });
    inputs.push({ port, path });
  }
  return inputs;
}

const missing = (flag: string, expected: string): OperatorError =>
  new OperatorError(`${flag} is missing; expected ${expected}`, { code: 'Usage' });

/** `--no-dns` is a setting of its own, which commander would take for the contrary of `--dns LIST`. */
function literal(option: Option): Option {
  option.negate = false;
  return option;
}

/** Lists may be given in parts: `--taps tap0 --taps tap1`. */
const gathered = (option: Option): Option =>
  /<(LIST|PORT=FILE)>/.test(option.flags)
    ? option.argParser((value: string, before: string | undefined) =>
        before === undefined ? value : `${before},${value}`,
      )
    : option;

/** Each item as it is, since it may hold commas. */
const collected = (option: Option): Option =>
  option.argParser((value: string, before: readonly string[] = []) => [...before, value]);

/** The program's options by the names that the settings have. */
function optionsOf(program: Command): { given: Given; config?: string; dryRun: boolean; undo: boolean } {
  const { config, dryRun = false, undo = false, ...rest } = program.opts<Record<string, unknown>>();
  const given: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(rest)) given[dashed(name)] = value;
  const flags = { given, dryRun: dryRun === true, undo: undo === true };
  return typeof config === 'string' ? { ...flags, config } : flags;
}

const dashed = (camel: string): string => camel.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`);

/** Commander's complaint as one sentence that says what is expected. */
function sentence(error: CommanderError, argv: readonly string[]): string {
  const text = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
  if (error.code === 'commander.excessArguments') {
    const extra = argv.findLast(argument => !argument.startsWith('-'));
    return `unexpected argument ${JSON.stringify(extra)}; expected options, 'demo' or 'replay' (see --help)`;
  }
  if (error.code === 'commander.optionMissingArgument')
    return `${text}; expected a value behind it (see --help)`;
  return `${text}; expected one of the options that --help lists`;
}
