/** vswitchctl: what a running switch is doing, as tables for people or JSON for programs. */
import { Command } from 'commander';
import { ask } from './control/client.ts';
import { flowsText, leasesText, macsText, portsText, statusText } from './control/screen.ts';
import type { FlowView, LeaseView, MacView, PortView, StatusView } from './control/views.ts';
import { reportAndExit } from './errors.ts';
import { VERSION } from './version.ts';

interface Where {
  readonly name: string;
  readonly runDir: string;
  readonly json?: boolean;
}

const program = new Command('vswitchctl')
  .description('Shows what a running vswitchd is doing.')
  .version(VERSION)
  .option('--name <NAME>', 'which switch, as given to vswitchd --name', 'vsw0')
  .option('--run-dir <DIR>', 'where its control socket is', '/run/vswitchd')
  .option('--json', 'JSON instead of tables')
  .addHelpText(
    'after',
    '\nExit codes: 0 done, 1 fault, 2 bad usage, 3 the switch does not answer. See docs/operation.md.',
  );

const where = (): Where => program.opts<Where>();

const fetch = <T>(resource: string): Promise<T> => ask<T>(`${where().runDir}/${where().name}.sock`, resource);

const print = <T>(value: T, text: (value: T) => string): void =>
  console.log(where().json === true ? JSON.stringify(value, null, 2) : text(value));

function list<T>(resource: string, description: string, text: (rows: T[]) => string): void {
  program
    .command(resource)
    .description(description)
    .action(async () => print(await fetch<T[]>(resource), text));
}

list<PortView>('ports', 'ports, their state, counters and drop reasons', portsText);
list<MacView>('macs', 'the forwarding database: which MAC is behind which port', macsText);
list<LeaseView>('leases', 'addresses handed out by DHCP', leasesText);
list<FlowView>('flows', 'NAT sessions', flowsText);

program
  .command('show', { isDefault: true })
  .description('all of it on one screen')
  .action(async () => {
    const [status, ports, macs, leases, flows] = await Promise.all([
      fetch<StatusView>('status'),
      fetch<PortView[]>('ports'),
      fetch<MacView[]>('macs'),
      fetch<LeaseView[]>('leases'),
      fetch<FlowView[]>('flows'),
    ]);
    print({ status, ports, macs, leases, flows }, all =>
      [
        statusText(all.status),
        portsText(all.ports),
        macsText(all.macs),
        leasesText(all.leases),
        flowsText(all.flows),
      ].join('\n\n'),
    );
  });

program.parseAsync().catch(reportAndExit);
