/** `vswitchctl config`: what the running switch does as a file, what a file would change, and the change. */
import type { Command } from 'commander';
import { readSettingsFile } from './config/given.ts';
import { readConfig } from './config.ts';
import { ask, tell } from './control/client.ts';
import type { DifferenceView } from './control/views.ts';
import { EXIT } from './errors.ts';

interface Reach {
  socket(): string;
  print<T>(value: T, text: (value: T) => string): void;
}

export function addConfigCommands(program: Command, { socket, print }: Reach): void {
  const config = program.command('config').description('configuration files, and the running switch');
  config
    .command('show', { isDefault: true })
    .description('what the switch does, as a file would say it')
    .action(async () => {
      const { stringify } = await import('smol-toml');
      print(await ask<Record<string, unknown>>(socket(), 'config'), written => stringify(written).trimEnd());
    });
  config
    .command('check <FILE>')
    .description('is a file right? Without a switch; the host is not looked at')
    .action((file: string) => {
      readConfig({}, readSettingsFile(file));
      print({ file, right: true }, () => `${file}: right`);
    });
  config
    .command('diff <FILE>')
    .description('what applying a file would change: exit code 4 if anything, 5 if that takes a restart')
    .action(async (file: string) => {
      const found = await tell<DifferenceView[]>(socket(), 'POST', 'config/diff', bodyOf(file));
      print(found, differencesText);
      if (found.length > 0)
        process.exitCode = found.some(({ restart }) => restart) ? EXIT.restart : EXIT.differs;
    });
  config
    .command('apply <FILE>')
    .description('changes what differs, and nothing else; all of it, or nothing where something is wrong')
    .action(async (file: string) =>
      print(await tell<DifferenceView[]>(socket(), 'POST', 'config/apply', bodyOf(file)), differencesText),
    );
}

function bodyOf(file: string): object {
  const { name, text, format } = readSettingsFile(file);
  return { name, text, format };
}

/** A line for what goes and what comes; `~` where that is more than a word, `!` where it takes a restart. */
export const differencesText = (found: readonly DifferenceView[]): string =>
  found.length === 0
    ? 'nothing differs'
    : found
        .flatMap(({ setting, removed, added, restart }) => [
          ...(restart ? [`! ${setting}: takes a restart`] : []),
          ...(!restart && removed.length + added.length === 0 ? [`~ ${setting}`] : []),
          ...removed.map(item => `- ${setting} = ${item}`),
          ...added.map(item => `+ ${setting} = ${item}`),
        ])
        .join('\n');
