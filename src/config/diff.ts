/** What differs between what a switch does and what a configuration wants of it, setting by setting, and what of it takes a restart. */
import { isDeepStrictEqual } from 'node:util';
import type { Config, EgressConfig, Forward } from '../config.ts';
import type { SettingName } from '../options.ts';
import { portText } from '../settings/ports.ts';
import { formatIp4, type Ip4 } from '../wire/address.ts';

/** What comes and goes while a switch runs, as it could have been written. */
export interface Living {
  readonly ports: readonly string[];
  readonly forwards: readonly string[];
  readonly logLevel: Config['logLevel'];
}

export interface Difference {
  readonly setting: SettingName;
  /** Items, or the one value; none where it is more than a word. */
  readonly removed: readonly string[];
  readonly added: readonly string[];
  /** It can't be made while the switch runs. */
  readonly restart: boolean;
}

type Forwarded = Pick<Forward, 'port' | 'guest' | 'guestPort'> & { readonly protocol: string };

export const forwardText = ({ protocol, port, guest, guestPort }: Forwarded): string =>
  `${protocol}/${port}:${typeof guest === 'string' ? guest : formatIp4(guest)}:${guestPort}`;

const livingIn = ({ taps, ports, forwards, logLevel }: Config): Living => ({
  ports: [...taps.map(tap => ({ kind: 'tap' as const, ...tap })), ...ports].map(portText),
  forwards: forwards.map(forwardText),
  logLevel,
});

type Fixed = Exclude<
  keyof Config,
  'taps' | 'ports' | 'forwards' | 'logLevel' | 'dhcp' | 'dns' | 'egress' | 'cloudInit'
>;

/** Which setting is behind each part of a configuration. */
const FIXED: Readonly<Record<Fixed, SettingName>> = {
  name: 'name',
  subnet: 'subnet',
  uplink: 'uplink',
  mtu: 'mtu',
  ageingS: 'ageing',
  maxMacs: 'max-macs',
  portMacs: 'port-macs',
  stormLimit: 'storm-limit',
  guard: 'guard',
  natAddress: 'nat-address',
  natFiltering: 'nat-filtering',
  maxFlows: 'max-flows',
  maxGuestFlows: 'max-guest-flows',
  lan: 'lan',
  firewall: 'firewall',
  hostAccess: 'host-access',
  leaseHook: 'lease-hook',
  releaseOnDetach: 'release-on-detach',
  metrics: 'metrics',
  user: 'user',
  stateDir: 'state-dir',
  runDir: 'run-dir',
};

const DHCP: Readonly<Record<keyof NonNullable<Config['dhcp']>, SettingName>> = {
  first: 'dhcp-range',
  last: 'dhcp-range',
  leaseTimeS: 'lease-time',
  probeMs: 'dhcp-probe',
  dns: 'dns',
  domain: 'domain',
  pools: 'pool',
  hosts: 'host',
  options: 'dhcp-option',
  tags: 'dhcp-tag',
  boots: 'boot',
};
const DNS: Readonly<Record<keyof NonNullable<Config['dns']>, SettingName>> = {
  domain: 'domain',
  upstreams: 'dns',
  records: 'dns-record',
};
const EGRESS: Readonly<Record<keyof Config['egress'], SettingName>> = {
  rules: 'egress-rule',
  otherwise: 'egress',
  resolvers: 'dns',
};
const CLOUD_INIT: Readonly<Record<keyof NonNullable<Config['cloudInit']>, SettingName>> = {
  folder: 'cloud-init',
  port: 'cloud-init-port',
  phoneHomeHook: 'phone-home-hook',
};

/** Of these a switch changes too, while it runs; the rest takes a restart. */
const AT_RUN_TIME: readonly SettingName[] = [
  'dhcp-range',
  'lease-time',
  'dhcp-probe',
  'pool',
  'host',
  'dhcp-option',
  'dhcp-tag',
  'boot',
  'dns-record',
  'dns',
  'egress',
  'egress-rule',
];

/** `started`: what the switch goes by; `living`: what of it is otherwise by now. */
export function differences(started: Config, living: Living, wanted: Config): Difference[] {
  const want = livingIn(wanted);
  return [
    ...ofList('port', living.ports, want.ports),
    ...ofList('forward', living.forwards, want.forwards),
    ...(living.logLevel === want.logLevel
      ? []
      : [
          {
            setting: 'log-level' as const,
            removed: [living.logLevel],
            added: [want.logLevel],
            restart: false,
          },
        ]),
    ...partsOf(FIXED, started, wanted),
    ...parts('no-dhcp', DHCP, started.dhcp, wanted.dhcp),
    ...parts('no-dns', DNS, started.dns, wanted.dns),
    ...parts('egress', EGRESS, started.egress, wanted.egress).map(each =>
      each.setting === 'egress-rule' ? ofRules(started.egress, wanted.egress) : each,
    ),
    ...parts('cloud-init', CLOUD_INIT, started.cloudInit, wanted.cloudInit),
  ].filter(({ setting }, index, all) => all.findIndex(each => each.setting === setting) === index);
}

function ofList(setting: SettingName, before: readonly string[], after: readonly string[]): Difference[] {
  const removed = before.filter(item => !after.includes(item));
  const added = after.filter(item => !before.includes(item));
  return removed.length + added.length === 0 ? [] : [{ setting, removed, added, restart: false }];
}

/** Whoever learns the addresses of names is made for those that there are at the start. */
function ofRules({ rules: before }: EgressConfig, { rules: after }: EgressConfig): Difference {
  const [was, will] = [before.map(({ text }) => text), after.map(({ text }) => text)];
  const removed = was.filter(text => !will.includes(text));
  const added = will.filter(text => !was.includes(text));
  const restart = !isDeepStrictEqual(domainsIn(before), domainsIn(after));
  // In another order they are others: the first that matches decides.
  return removed.length + added.length === 0
    ? { setting: 'egress-rule', removed: was, added: will, restart }
    : { setting: 'egress-rule', removed, added, restart };
}

/** In the order in which the gateway numbers them. */
const domainsIn = (rules: EgressConfig['rules']): readonly string[] => [
  ...new Set(
    rules.flatMap(({ allow, target }) =>
      target.kind === 'domain' ? [`${allow} ${target.below} ${target.name}`] : [],
    ),
  ),
];

/** A part that is there or not as a whole: `whole` says which. */
function parts<T extends object>(
  whole: SettingName,
  settings: Readonly<Record<keyof T, SettingName>>,
  before: T | undefined,
  after: T | undefined,
): Difference[] {
  if (before !== undefined && after !== undefined) return partsOf(settings, before, after);
  return before === after ? [] : [{ setting: whole, removed: [], added: [], restart: true }];
}

function partsOf<T extends object, K extends keyof T>(
  settings: Readonly<Record<K, SettingName>>,
  before: T,
  after: T,
): Difference[] {
  return (Object.keys(settings) as K[]).flatMap(key => {
    if (isDeepStrictEqual(before[key], after[key])) return [];
    const setting = settings[key];
    const [removed, added] = [word(setting, before[key]), word(setting, after[key])];
    return [{ setting, removed, added, restart: !AT_RUN_TIME.includes(setting) }];
  });
}

/** Numbers of these are addresses. */
const ADDRESSES: readonly SettingName[] = ['nat-address', 'dhcp-range'];

function word(setting: SettingName, value: unknown): string[] {
  if (typeof value === 'number' && ADDRESSES.includes(setting)) return [formatIp4(value as Ip4)];
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return [String(value)];
  const text = (value as { text?: unknown } | undefined)?.text;
  return typeof text === 'string' ? [text] : [];
}
