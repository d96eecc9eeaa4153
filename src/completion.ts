/**
 * Completion of vswitchctl's words in a shell. The shells' scripts only ask; what may come next is found here, in the tree of
 * commands, and for names of ports and forwards at the running switch. Where there is nothing to say nothing is said: a
 * shell in the middle of a line has no use for a fault.
 */
import type { Command, Option } from 'commander';
import { ask } from './control/client.ts';
import type { ForwardView, PortView } from './control/views.ts';
import { OperatorError } from './errors.ts';

const ASK = 'complete-words';

const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `_vswitchctl() {
  local IFS=$'\\n'
  COMPREPLY=($(vswitchctl ${ASK} -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _vswitchctl vswitchctl`,
  zsh: `#compdef vswitchctl
_vswitchctl() {
  local -a found
  found=("\${(@f)$(vswitchctl ${ASK} -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a found
}
compdef _vswitchctl vswitchctl`,
  fish: `complete -c vswitchctl -f -a '(vswitchctl ${ASK} -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'`,
};

export function scriptFor(shell: string): string {
  const script = SCRIPTS[shell];
  if (script !== undefined) return script;
  throw new OperatorError(`completion ${shell}: expected one of ${Object.keys(SCRIPTS).join(', ')}`, {
    code: 'Usage',
  });
}

/** What a command's first argument names, by the command's path; what is not here is none of these. */
const NAMED: Readonly<Record<string, 'ports' | 'forwards' | readonly string[]>> = {
  'port del': 'ports',
  'port set': 'ports',
  'cloud-init show': 'ports',
  'cloud-init reset': 'ports',
  'cloud-init': 'ports',
  qemu: 'ports',
  capture: 'ports',
  'forward del': 'forwards',
  completion: Object.keys(SCRIPTS),
};
/** What the second argument may be. */
const SECOND: Readonly<Record<string, readonly string[]>> = { 'port set': ['up', 'down'] };
const VALUES: Readonly<Record<string, readonly string[]>> = {
  '--for': ['qemu', 'firecracker', 'cloud-hypervisor'],
};

/** What may stand in place of the last word, which may be empty or unfinished. */
export async function complete(program: Command, words: readonly string[]): Promise<string[]> {
  const last = words.at(-1) ?? '';
  const place = placeOf(program, words.slice(0, -1));
  const found = await candidates(program, place, last, words);
  return found.filter(word => word.startsWith(last));
}

interface Place {
  readonly command: Command;
  readonly path: string;
  /** Its arguments so far. */
  readonly count: number;
  /** The option whose value comes next. */
  readonly option: Option | undefined;
}

function placeOf(program: Command, words: readonly string[]): Place {
  let command = program;
  let option: Option | undefined;
  let count = 0;
  const path: string[] = [];
  for (const word of words) {
    if (option !== undefined) {
      option = undefined;
      continue;
    }
    if (word.startsWith('-')) {
      option = optionsOf(program, command).find(({ long, short }) => long === word || short === word);
      if (option?.isBoolean() === true) option = undefined;
      continue;
    }
    const next = count === 0 ? command.commands.find(each => each.name() === word) : undefined;
    if (next === undefined) count++;
    else {
      command = next;
      path.push(word);
    }
  }
  return { command, path: path.join(' '), count, option };
}

async function candidates(
  program: Command,
  { command, path, count, option }: Place,
  last: string,
  words: readonly string[],
): Promise<readonly string[]> {
  if (option !== undefined) return VALUES[option.long ?? ''] ?? [];
  if (last.startsWith('-')) return optionsOf(program, command).flatMap(({ long }) => long ?? []);
  const commands = count === 0 ? command.commands.map(each => each.name()).filter(name => name !== ASK) : [];
  const named = count === 0 ? NAMED[path] : count === 1 ? SECOND[path] : undefined;
  if (named === undefined) return commands;
  return [...commands, ...(typeof named === 'string' ? await names(program, named, words) : named)];
}

const optionsOf = (program: Command, command: Command): readonly Option[] =>
  command === program ? program.options : [...command.options, ...program.options];

/** As the switch has them that the words so far name. */
async function names(
  program: Command,
  what: 'ports' | 'forwards',
  words: readonly string[],
): Promise<readonly string[]> {
  const said = (name: 'name' | 'run-dir'): string => {
    const at = words.lastIndexOf(`--${name}`);
    const usual = program.options.find(option => option.long === `--${name}`)?.defaultValue as string;
    return (at < 0 ? undefined : words[at + 1]) ?? usual;
  };
  const socketPath = `${said('run-dir')}/${said('name')}.sock`;
  try {
    if (what === 'ports')
      return (await ask<PortView[]>(socketPath, 'ports')).flatMap(port =>
        port.made === undefined ? [] : port.name,
      );
    return (await ask<ForwardView[]>(socketPath, 'forwards')).map(
      ({ protocol, port }) => `${protocol}/${port}`,
    );
  } catch {
    return []; // no switch runs
  }
}
