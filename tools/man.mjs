/**
 * The man pages, from what --help is made of: the options and commands as commander has them, the settings' schemas, and the
 * tables of docs/operation.md. Nothing of it is written twice, so nothing is kept in the repository.
 *
 *   node tools/man.mjs [FOLDER]     vswitchd.8, vswitchctl.1 and vswitchd.toml.5 in FOLDER, else in dist/man
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { z } from 'zod';
import { root } from './setup.mjs';

const compiled = path => import(new URL(`../dist/src/${path}`, import.meta.url).href);
const operation = readFileSync(join(root, 'docs/operation.md'), 'utf8');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
/** As reproducible builds want it, reproducible-builds.org/specs/source-date-epoch. */
const epoch = process.env.SOURCE_DATE_EPOCH;
const date = new Date(epoch === undefined ? Date.now() : Number(epoch) * 1000).toISOString().slice(0, 10);

/** A program as it is about to read its command line, which it does not come to. */
async function programOf(start) {
  const { parse, parseAsync } = Command.prototype;
  let found;
  Command.prototype.parse = function () {
    found = this;
    return this;
  };
  Command.prototype.parseAsync = async function () {
    found = this;
    return this;
  };
  try {
    await start();
  } finally {
    Object.assign(Command.prototype, { parse, parseAsync });
  }
  return found;
}

/** Text as groff reads it; '-' is what one types, not a hyphen. */
const escaped = text =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('…', '...')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replaceAll('`', '\\(ga');

/** A line of text, which must not begin as a request does. */
const line = text => escaped(text.trim()).replace(/^\./, '\\&.');

/** Markdown in one line: `code` is bold, links are their words. */
const marked = text =>
  text
    .replace(/\[([^\]]+)\]\([^)]*\)/g, '$1')
    .replaceAll('**', '')
    .split('`')
    .map((part, at) => (at % 2 === 0 ? escaped(part) : `\\fB${escaped(part)}\\fR`))
    .join('')
    .replace(/^\./, '\\&.');

const section = (title, body) => (body.length === 0 ? [] : [`.SH ${title}`, ...body]);

const asIs = lines => ['.nf', ...lines.map(each => escaped(each.trimEnd()).replace(/^\./, '\\&.')), '.fi'];

/** Help of several lines: columns stay as they are, and what is a sentence is filled. */
function help(text) {
  const lines = text.split('\n');
  const columns = lines.some(each => / {2,}\S/.test(each.trim()) && !/ {2}\(required/.test(each));
  return columns && lines.length > 1 ? asIs(lines) : lines.map(line);
}

/** `--taps <LIST>` with the flag bold and its value in italics. */
const flag = flags =>
  `\\fB${escaped(flags).replace(/ <([^>]+)>/g, '\\fR \\fI$1\\fB')}\\fR`.replaceAll('\\fB\\fR', '');

const entry = (head, body) => ['.TP', head, ...body];

function options(command) {
  const helper = command.createHelp();
  const groups = new Map();
  for (const option of helper.visibleOptions(command)) {
    const heading = option.helpGroupHeading ?? '';
    groups.set(heading, [...(groups.get(heading) ?? []), option]);
  }
  return [...groups].flatMap(([heading, members]) => [
    ...(heading === '' || groups.size === 1 ? [] : [`.SS ${escaped(heading.replace(/:$/, ''))}`]),
    ...members.flatMap(option => entry(flag(option.flags), help(helper.optionDescription(option)))),
  ]);
}

/** `forward add <FORWARD>` and the commands below it. */
function commands(command, before = '') {
  const helper = command.createHelp();
  return helper
    .visibleCommands(command)
    .filter(each => each.name() !== 'help')
    .flatMap(each => {
      const name = `${before}${each.name()}`;
      const own = helper.visibleOptions(each).filter(option => option.name() !== 'help');
      const words = each.registeredArguments.map(argument => ` \\fI${argument.name()}\\fR`).join('');
      const text = [line(each.description())];
      for (const { name: argument, description } of each.registeredArguments.map(a => ({
        name: a.name(),
        description: a.description,
      })))
        if (description) text.push('.br', `\\fI${argument}\\fR: ${escaped(description)}`);
      const lists = own.flatMap(option => entry(flag(option.flags), help(helper.optionDescription(option))));
      return [
        ...entry(`\\fB${escaped(name)}\\fR${words}`, text),
        ...(lists.length === 0 ? [] : ['.RS', ...lists, '.RE']),
        ...commands(each, `${name} `),
      ];
    });
}

/** The paragraphs that --help has behind the options, by how they begin. */
function after(command) {
  let whole = '';
  command.configureOutput({ writeOut: text => (whole += text), getOutHelpWidth: () => 100 });
  command.outputHelp();
  return whole.slice(command.helpInformation().length);
}

const examples = text => {
  const [, example = ''] = /^Example:\n([\s\S]*?)(?=^Exit codes:|(?![\s\S]))/m.exec(text) ?? [];
  return example.trim() === '' ? [] : asIs(example.trimEnd().replace(/^ {2}/gm, '').split('\n'));
};

/** The rows of the first table behind a heading of docs/operation.md. */
function table(heading) {
  const [, text = ''] = operation.split(`\n${heading}\n`);
  const rows = text.split(/\n##+ /)[0].match(/^\|.*\|$/gm) ?? [];
  if (rows.length < 3) throw new Error(`docs/operation.md has no table behind '${heading}'`);
  return rows.slice(2).map(row =>
    row
      .slice(1, -1)
      .split('|')
      .map(cell => cell.trim()),
  );
}

const listOf = rows => rows.flatMap(([what, text]) => entry(marked(what), [marked(text)]));

const page = (name, number, what, body) => ({
  file: `${name}.${number}`,
  text: [
    `.TH ${name.toUpperCase()} ${number} ${date} "vswitchd ${version}" "${number === 5 ? 'File formats' : 'vswitchd'}"`,
    ...section('NAME', [`${escaped(name)} \\- ${line(what)}`]),
    ...body,
    '',
  ].join('\n'),
});

const seeAlso = (...pages) =>
  section(
    'SEE ALSO',
    pages.map(([name, number], at) => `.BR ${escaped(name)} (${number})${at + 1 < pages.length ? ',' : ''}`),
  );

const lowered = text => text.charAt(0).toLowerCase() + text.slice(1).replace(/\.$/, '');

function daemonPage(program) {
  const text = after(program);
  const [demo, replay] = ['demo', 'replay'].map(name => program.commands.find(each => each.name() === name));
  return page('vswitchd', 8, lowered(program.description()), [
    ...section('SYNOPSIS', [
      '.B vswitchd\n\\fB\\-\\-subnet\\fR \\fICIDR\\fR \\fB\\-\\-taps\\fR \\fILIST\\fR [\\fIoptions\\fR]',
      '.br\n.B vswitchd\n\\fB\\-\\-config\\fR \\fIFILE\\fR [\\fIoptions\\fR]',
      '.br\n.B vswitchd demo',
      '.br\n.B vswitchd replay\n\\fB\\-\\-in\\fR \\fIPORT=FILE\\fR \\fB\\-\\-out\\fR \\fIDIR\\fR [\\fIoptions\\fR]',
    ]),
    ...section('DESCRIPTION', [
      line(program.description()),
      'It runs in the foreground till it is ended, and puts back what it has changed on the host.',
    ]),
    ...section('OPTIONS', options(program)),
    ...section(
      'COMMANDS',
      [demo, replay].flatMap(command => [
        `.SS ${command.name()}`,
        line(command.description()),
        ...options(command),
      ]),
    ),
    ...section('SIGNALS', listOf(table('### Signals'))),
    ...section('ENVIRONMENT', listOf(table('### Environment'))),
    ...section('FILES', listOf(table('## Files'))),
    ...section('EXIT STATUS', listOf(table('## Exit codes'))),
    ...section('EXAMPLES', examples(text)),
    ...seeAlso(['vswitchctl', 1], ['vswitchd.toml', 5]),
  ]);
}

function controlPage(program) {
  return page('vswitchctl', 1, lowered(program.description()), [
    ...section('SYNOPSIS', ['.B vswitchctl\n[\\fIoptions\\fR] [\\fIcommand\\fR]']),
    ...section('DESCRIPTION', [
      line(program.description()),
      'It asks the switch on its control socket; without a command it shows all of it on one screen.',
    ]),
    ...section('OPTIONS', options(program)),
    ...section('COMMANDS', commands(program)),
    ...section('FILES', listOf(table('## Files').filter(([path]) => path.includes('.sock')))),
    ...section('EXIT STATUS', listOf(table('## Exit codes'))),
    ...section(
      'EXAMPLES',
      asIs([
        'vswitchctl ports',
        'vswitchctl --json leases',
        'vswitchctl forward add 8080:192.168.100.10:80',
        'vswitchctl doctor --fix',
      ]),
    ),
    ...seeAlso(['vswitchd', 8], ['vswitchd.toml', 5]),
  ]);
}

/** What a key takes in the file, as its schema has it: `string or list of strings`. */
function typeOf(schema) {
  const { anyOf, ...only } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  const types = (anyOf ?? [only]).map(each => each.type);
  const names = {
    array: 'list of strings',
    number: 'number',
    integer: 'number',
    boolean: 'true or false',
    string: 'string',
  };
  return [...new Set(types.map(type => names[type] ?? type))].join(' or ');
}

function filePage({ SETTINGS, GROUPS }) {
  const of = group => Object.entries(SETTINGS).filter(([, setting]) => setting.group === group);
  return page('vswitchd.toml', 5, 'settings of vswitchd(8)', [
    ...section('DESCRIPTION', [
      '.BR vswitchd (8)\nreads this file when it is named by\n.BR \\-\\-config .',
      'It is TOML 1.0. The keys are the names of the options, each with the same meaning; an option on the command line wins over the file.',
      'A key that is not listed here is refused.',
      'The service\n.I vswitchd@NAME\nreads\n.IR /etc/vswitchd/NAME.toml .',
    ]),
    ...Object.entries(GROUPS).flatMap(([group, heading]) =>
      section(
        heading.replace(/:$/, '').toUpperCase(),
        of(group).flatMap(([key, { flags, help: text, schema }]) => {
          const [, value] = /<([^>]+)>/.exec(flags) ?? [];
          const named = value === undefined ? '' : ` = \\fI${escaped(value)}\\fR`;
          return entry(`\\fB${escaped(key)}\\fR${named} (${typeOf(schema)})`, help(text));
        }),
      ),
    ),
    ...section(
      'FILES',
      entry('\\fB/etc/vswitchd/\\fINAME\\fB.toml\\fR', ['the file of the service\n.IR vswitchd@NAME .']),
    ),
    ...section(
      'EXAMPLES',
      asIs([
        'subnet = "192.168.100.0/24"',
        'taps = ["tap0", "tap1"]',
        'host = ["vm1,tap0,192.168.100.10"]',
        'forward = ["8080:vm1:80"]',
        'mtu = 1500',
      ]),
    ),
    ...seeAlso(['vswitchd', 8], ['vswitchctl', 1]),
  ]);
}

const { parseCommandLine } = await compiled('cli.js');
const daemon = await programOf(() => parseCommandLine([]));
const control = await programOf(() => compiled('ctl.js'));
const folder = process.argv[2] ?? join(root, 'dist/man');
mkdirSync(folder, { recursive: true });
for (const { file, text } of [
  daemonPage(daemon),
  controlPage(control),
  filePage(await compiled('options.js')),
])
  writeFileSync(join(folder, file), text);
