/** vswitchctl: what a running switch is doing, as tables for people or JSON for programs. */
import { Command, CommanderError, Option } from 'commander';
import { complete, scriptFor } from './completion.ts';
import { addConfigCommands } from './configcommands.ts';
import { ask, follow, tell } from './control/client.ts';
import { diagnosisText } from './control/diagnosis.ts';
import { eventText } from './control/happened.ts';
import {
  cloudInitText,
  dhcpText,
  dnsText,
  egressText,
  flowsText,
  forwardsText,
  leasesText,
  macsText,
  portsText,
  statusText,
} from './control/screen.ts';
import type {
  CloudInitView,
  DhcpView,
  DnsView,
  EgressView,
  EventView,
  FlowView,
  ForwardView,
  LeaseView,
  MacView,
  PortView,
  StatusView,
} from './control/views.ts';
import { EXIT, OperatorError, reportAndExit } from './errors.ts';
import { adviceText, advise, type QemuOptions } from './qemucommand.ts';
import { restart } from './restartcommand.ts';
import { type TopOptions, top } from './topcommand.ts';
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
  .exitOverride() // bad usage is told below, in one sentence
  .configureOutput({ outputError: () => undefined })
  .addHelpText(
    'after',
    '\nExit codes: 0 done, 1 fault or what doctor found, 2 bad usage, 3 refused, or the switch does not answer, 4 and 5 as for config diff. See docs/operation.md.',
  );

const where = (): Where => program.opts<Where>();

const socket = (): string => `${where().runDir}/${where().name}.sock`;

const fetch = <T>(resource: string): Promise<T> => ask<T>(socket(), resource);

const print = <T>(value: T, text: (value: T) => string): void =>
  console.log(where().json === true ? JSON.stringify(value, null, 2) : text(value));

function show<T>(resource: string, description: string, text: (value: T) => string): void {
  program
    .command(resource)
    .description(description)
    .action(async () => print(await fetch<T>(resource), text));
}

show<StatusView>(
  'status',
  'the switch: its subnet, how long it has run, how full its tables are',
  statusText,
);
show<PortView[]>('ports', 'ports, their state, counters and drop reasons', portsText);
show<MacView[]>('macs', 'the forwarding database: which MAC is behind which port', macsText);
show<LeaseView[]>('leases', 'addresses handed out by DHCP', leasesText);
show<FlowView[]>('flows', 'NAT sessions', flowsText);
show<EgressView>(
  'egress',
  'what guests may reach: rules with packets, and names they have learnt',
  egressText,
);

show<DhcpView | null>('dhcp', 'the DHCP server: messages, how full its pool is, probes', dhcpText);
show<DnsView | null>('dns', "guests' names, and how questions for names are answered", dnsText);

program
  .command('events')
  .description('what happens, a line each, till it is ended')
  .action(() => {
    process.stdout.on('error', () => process.exit()); // the reader has gone
    const { json } = where();
    const show = (line: string): void =>
      console.log(json === true ? line : eventText(JSON.parse(line) as EventView));
    return follow(socket(), 'events', show);
  });

const forward = program.command('forward').description("ports of the host that are passed on to guests'");
forward
  .command('list', { isDefault: true })
  .description('those that there are')
  .action(async () => print(await fetch<ForwardView[]>('forwards'), forwardsText));
forward
  .command('add <FORWARD>')
  .description('one more, as for --forward: 8080:192.168.100.10:80, udp/53:vm1:53')
  .action(async (text: string) =>
    print(await tell<ForwardView[]>(socket(), 'POST', 'forwards', { forward: text }), forwardsText),
  );
forward
  .command('del <PORT>')
  .description('one less, with its connections: tcp/8080')
  .action(async (name: string) =>
    print(await tell<ForwardView[]>(socket(), 'DELETE', `forwards/${name}`), forwardsText),
  );

const port = program.command('port').description('ports that are added, removed, or set up or down');
port
  .command('add <PORT>')
  .description('one more, as for --port: stream:/run/vm1.sock,name=vm1, pcap:/tmp/all.pcapng,mode=record')
  .action(async (text: string) =>
    print(await tell<PortView[]>(socket(), 'POST', 'ports', { port: text }), portsText),
  );
port
  .command('del <NAME>')
  .description('one less; a tap that the switch made is deleted')
  .action(async (name: string) =>
    print(await tell<PortView[]>(socket(), 'DELETE', `ports/${encodeURIComponent(name)}`), portsText),
  );
port
  .command('set <NAME>')
  .argument('<STATE>', 'up, or down: no frame in or out, whatever its guest does')
  .description('up again, or down whatever its guest does')
  .action(async (name: string, state: string) => {
    if (state !== 'up' && state !== 'down')
      throw new OperatorError(`port set ${name} ${state}: expected up or down`, { code: 'Usage' });
    const body = { up: state === 'up' };
    print(await tell<PortView[]>(socket(), 'PATCH', `ports/${encodeURIComponent(name)}`, body), portsText);
  });

program
  .command('qemu <PORT>')
  .description('how QEMU, Firecracker and cloud-hypervisor are told of a port')
  .option(
    '--for <MONITOR>',
    'of qemu, firecracker and cloud-hypervisor one alone, and nothing but its arguments',
  )
  .option('--memory <SIZE>', "the guest's, where it is shared with the switch", '1G')
  .action(async (name: string, options: QemuOptions) =>
    print(await advise(socket(), name, options), adviceText),
  );

program
  .command('top')
  .description('what ports do a second, the busiest first, till it is ended (q)')
  .option('--interval <SECONDS>', 'how often they are looked at', '1')
  .option('--count <N>', 'end after so many looks')
  .action((options: TopOptions) => top(socket(), { ...where(), ...options }));

program
  .command('capture <PORT>')
  .description('frames of a port, or of all, as pcapng to standard output: capture tap0 | wireshark -k -i -')
  .option('--filter <EXPR>', "only what a tcpdump expression matches: 'udp port 67'")
  .option('--snaplen <BYTES>', 'only so much of each frame')
  .action(async (port: string, options: { filter?: string; snaplen?: string }) => {
    const { capture } = await import('./capture/command.ts');
    await capture(socket(), port, options);
  });

addConfigCommands(program, { socket, print });

const cloudInit = program.command('cloud-init').description("what guests' cloud-init gets");
cloudInit
  .command('show <PORT>', { isDefault: true })
  .description('the four documents of the guest on a port, with its one-time password: tap0')
  .action(async (port: string) =>
    print(await fetch<CloudInitView>(`cloud-init/${encodeURIComponent(port)}`), cloudInitText),
  );
cloudInit
  .command('reset <PORT>')
  .description('a new password for the guest on a port, as if it had never phoned home')
  .action(async (port: string) =>
    print(
      await tell<CloudInitView>(socket(), 'DELETE', `cloud-init/${encodeURIComponent(port)}`),
      cloudInitText,
    ),
  );

program
  .command('show', { isDefault: true })
  .description('all of it on one screen')
  .action(async () => {
    const [status, ports, macs, leases, flows, egress] = await Promise.all([
      fetch<StatusView>('status'),
      fetch<PortView[]>('ports'),
      fetch<MacView[]>('macs'),
      fetch<LeaseView[]>('leases'),
      fetch<FlowView[]>('flows'),
      fetch<EgressView>('egress'),
    ]);
    print({ status, ports, macs, leases, flows, egress }, all =>
      [
        statusText(all.status),
        portsText(all.ports),
        macsText(all.macs),
        leasesText(all.leases),
        flowsText(all.flows),
        ...(isOpen(all.egress) ? [] : [egressText(all.egress)]),
      ].join('\n\n'),
    );
  });

/** Nothing is denied, so there is nothing to show. */
const isOpen = ({ rules, otherwise }: EgressView): boolean => rules.length === 0 && otherwise === 'all';

const doctor = program
  .command('doctor')
  .description("what on this host would break the guests' network, and what mends it")
  .option('--fix', 'do what is ours to do, and look again')
  .addHelpText('after', '\nExit codes: 0 nothing is broken, 1 an error was found, 2 bad usage.');

/** What a switch that does not run is told by: as for vswitchd. */
const WANTED = ['--subnet <CIDR>', '--taps <LIST>', '--uplink <KIND>', '--firewall <KIND>', '--dns <LIST>']
  .concat('--state-dir <DIR>', '--config <FILE>')
  .map(flags => new Option(flags, 'of a switch that does not run, as for vswitchd'));
for (const option of WANTED) doctor.addOption(option);

doctor.action(async () => {
  const { diagnose } = await import('./doctor.ts'); // what it reads with is nothing that the tables need
  const said = (command: Command, option: Option): [string, unknown][] => {
    const name = option.attributeName();
    return command.getOptionValueSource(name) === 'cli'
      ? [[option.name(), command.getOptionValue(name)]]
      : [];
  };
  const places = program.options.filter(option => ['name', 'run-dir'].includes(option.name()));
  const { config, ...given } = Object.fromEntries([
    ...places.flatMap(option => said(program, option)),
    ...WANTED.flatMap(option => said(doctor, option)),
  ]) as Record<string, string>;
  const found = await diagnose(given, config, doctor.opts<{ fix?: boolean }>().fix === true);
  print(found, diagnosisText);
  if (found.findings.some(({ severity }) => severity === 'error')) process.exitCode = EXIT.fault;
});

program
  .command('restart')
  .description('another process goes on with ports, leases and flows: of the program as it is on disk now')
  .action(async () => console.log(`restarted: pid ${await restart(socket())} goes on`));

program
  .command('completion <SHELL>')
  .description('what makes bash, zsh or fish complete these commands: eval "$(vswitchctl completion bash)"')
  .action((shell: string) => console.log(scriptFor(shell)));

program.command('complete-words [WORDS...]', { hidden: true }).action(async (words: string[]) => {
  for (const word of await complete(program, words)) console.log(word);
});

/** Commander's complaint as one sentence that says what is expected. */
function usage(error: unknown): unknown {
  if (!(error instanceof CommanderError)) return error;
  if (error.exitCode === 0) process.exit(); // help or version has been printed
  const names = program.commands
    .map(command => command.name())
    .filter(name => name !== 'complete-words')
    .join(', ');
  const what =
    error.code === 'commander.excessArguments'
      ? `unexpected argument ${JSON.stringify(program.args.find(word => !names.split(', ').includes(word)))}`
      : error.message.replace(/^error: /, '').replaceAll('\n', ' ');
  const given = commandsGiven(process.argv.slice(2));
  const expected =
    given.length === 0
      ? `one of ${names}, or an option that --help lists`
      : `what vswitchctl ${given.join(' ')} --help lists`;
  return new OperatorError(`${what}; expected ${expected}`, { code: 'Usage' });
}

/** The names of the commands that words lead to. */
function commandsGiven(words: readonly string[]): string[] {
  const given: string[] = [];
  let { commands } = program;
  for (const word of words) {
    const found = commands.find(command => command.name() === word);
    if (found === undefined) continue;
    given.push(word);
    commands = found.commands;
  }
  return given;
}

program.parseAsync().catch((error: unknown) => reportAndExit(usage(error)));
