/**
 * The shapes that the API sends and takes, once: the types of `views.ts` come from these, bodies are validated by these, and
 * the OpenAPI document is generated from these. Nothing else may stand in an answer, and tests hold real answers to that.
 */
import { z } from 'zod';

/** Those that have a name in the document. */
export const named = z.registry<{ id: string }>();

const name = <T extends z.ZodType>(id: string, schema: T): T => {
  named.add(schema, { id });
  return schema;
};

const count = z.int().min(0);
const seconds = z.number().min(0);
const unixS = z.number().min(0).describe('Unix time, seconds');
const counts = z.record(z.string(), count);
/** Of which only `true` is ever said. */
const flag = z.literal(true).exactOptional();

export const portView = name(
  'Port',
  z.strictObject({
    name: z.string(),
    kind: z
      .string()
      .describe(
        "'packet' is a tap's interface end, or that of a LAN; 'tap' a tap's device end; 'tun' the uplink; 'stream', 'dgram' and " +
          "'vhost-user' are sockets (the first passt's too); 'pcap' a capture file; '-' while there is no device and no connection",
      ),
    netns: z
      .string()
      .exactOptional()
      .describe("the network namespace that the tap is in, where it is not the switch's own"),
    up: z.boolean(),
    made: z
      .string()
      .exactOptional()
      .describe(
        "as it could be given to --port; left out where it is the uplink's, or a further guest's of another port",
      ),
    disabled: flag.describe('present where the operator has set it down'),
    rxFrames: count,
    rxBytes: count,
    txFrames: count,
    txBytes: count,
    drops: counts.describe('frames not delivered, by reason; reasons that have not occurred are left out'),
  }),
);

export const macView = name(
  'Mac',
  z.strictObject({ mac: z.string(), vlan: count, port: z.string(), ageS: seconds }),
);

export const leaseView = name(
  'Lease',
  z.strictObject({
    address: z.string(),
    mac: z.string(),
    client: z
      .string()
      .describe(
        "what the lease is known by: 'id:' and option 61, 'hw:', type and hardware address, or 'port:' and its name",
      ),
    hostname: z.string().exactOptional(),
    state: z.enum(['bound', 'expired', 'released', 'offered', 'declined']).describe('declined: quarantined'),
    port: z.string().exactOptional().describe('where it was seen last'),
    expires: unixS.describe('Unix time, seconds: the end of the lease, the offer or the quarantine'),
  }),
);

export const flowView = name(
  'Flow',
  z.strictObject({
    protocol: z.string(),
    inside: z.string(),
    external: z.string(),
    remote: z.string(),
    state: z.string(),
    idleS: seconds,
  }),
);

export const forwardView = name(
  'Forward',
  z.strictObject({
    protocol: z.string(),
    port: count.describe('of the host'),
    guest: z.string().describe("as it was written: an address, or a lease's host name"),
    guestPort: count,
    address: z.string().exactOptional().describe('where the guest is; left out while nobody has that name'),
  }),
);

const nameView = name(
  'EgressName',
  z.strictObject({ guest: z.string(), name: z.string(), address: z.string(), endsInS: seconds }),
);

export const egressView = name(
  'Egress',
  z.strictObject({
    otherwise: z.string().describe('what befalls packets that no rule is about'),
    rules: z
      .array(z.strictObject({ rule: z.string(), hits: count }))
      .describe('in their order; hits: packets that opened a flow, or were denied'),
    allowed: count.describe('packets that opened a flow by no rule'),
    denied: count.describe('packets that were denied by no rule'),
    names: z
      .array(nameView)
      .describe('addresses that guests have learnt from DNS answers, of names in the rules'),
    answers: counts.describe('DNS answers seen, by what became of them; empty where no rule has a domain'),
  }),
);

export const dhcpView = name(
  'Dhcp',
  z
    .strictObject({
      received: counts.describe('messages by type'),
      sent: counts.describe('messages by type'),
      ignored: counts.describe('messages that got no answer, by reason; those that have not occurred are 0'),
      pool: z
        .record(z.enum(['size', 'free', 'bound', 'offered', 'quarantined']), count)
        .describe('addresses; quarantined: declined, or found in use'),
      probes: z
        .record(z.enum(['sent', 'running', 'free', 'conflicts', 'skipped']), count)
        .describe(
          'addresses asked for before they were offered; skipped: offered unasked, as too many were asked for',
        ),
      hook: z
        .record(z.enum(['run', 'failed', 'lost', 'waiting']), count)
        .exactOptional()
        .describe('runs of --lease-hook; left out where there is none'),
      unwritten: z.string().exactOptional().describe("why leases can't be written; left out while they can"),
    })
    .describe('what the DHCP server does'),
);

export const dnsView = name(
  'Dns',
  z.strictObject({
    domain: z.string(),
    upstreams: z
      .array(
        z.strictObject({
          address: z.string(),
          rttMs: z.number().exactOptional().describe('smoothed; left out while it has not answered'),
          queries: count,
          failures: count,
          alive: z.boolean(),
        }),
      )
      .describe('whom the service asks for what it does not know itself'),
    names: z.array(
      z.strictObject({
        name: z.string(),
        address: z.string(),
        origin: z.enum(['lease', 'reservation', 'record', 'gateway']).describe("record: the operator's"),
      }),
    ),
    refusedNames: count.describe("guests that call themselves by another's name, and have none"),
    cache: z.strictObject({ entries: count, bytes: count, evicted: count }),
    waiting: count.describe('questions that wait for an upstream'),
    queries: counts.describe('questions by what became of them'),
    byUdp: counts.describe('those of guests by UDP'),
    byHost: counts.describe("those at the host's address"),
  }),
);

export const successor = name(
  'Successor',
  z.strictObject({ pid: count.describe('of the process that takes over, right after this answer') }),
);

export const statusView = name(
  'Status',
  z.strictObject({
    name: z.string(),
    version: z.string(),
    pid: count,
    subnet: z.string(),
    gateway: z.string(),
    uplink: z.string().describe('as for --uplink'),
    uplinkPort: z.string().exactOptional().describe("the uplink's port; none has no port"),
    uptimeS: seconds,
    ports: count,
    portsUp: count,
    macs: count.describe('addresses learnt'),
    maxMacs: count.describe('addresses that there may be'),
    unlearnt: count.describe(
      'frames from addresses that were not learnt, as the table was full: what is sent to those is flooded',
    ),
    leasesUnwritten: z
      .string()
      .exactOptional()
      .describe("why leases can't be written, so that no address is acknowledged; left out while they can"),
  }),
);

export const cloudInitView = name(
  'CloudInit',
  z
    .strictObject({
      port: z.string(),
      mac: z.string(),
      address: z.string(),
      instanceId: z.string(),
      hostname: z.string(),
      password: z
        .string()
        .exactOptional()
        .describe('the one-time password, where it has been asked for and the guest has not phoned home'),
      phonedHome: z
        .strictObject({
          atS: unixS,
          address: z.string(),
          fields: z.record(z.string(), z.string()).describe('what the guest has posted'),
        })
        .exactOptional(),
      documents: z.array(
        z.strictObject({
          name: z.string(),
          from: z.string().describe("a file's path, or how else it came about"),
          status: count.describe('as in HTTP'),
          content: z.string(),
        }),
      ),
    })
    .describe("what a guest's cloud-init gets"),
);

export const eventView = name(
  'Event',
  z
    .object({ time: z.number().describe('Unix time, ms'), event: z.string().describe('what has happened') })
    .catchall(z.union([z.string(), z.number()]))
    .describe('something that has happened: a time, a name, and fields by the name'),
);

export const ports = name('Ports', z.array(portView));
export const macs = name('Macs', z.array(macView));
export const leases = name('Leases', z.array(leaseView));
export const flows = name('Flows', z.array(flowView));
export const forwards = name('Forwards', z.array(forwardView));
export const dhcpOrNone = name(
  'DhcpOrNone',
  z.nullable(dhcpView).describe('null where there is no DHCP server'),
);
export const dnsOrNone = name('DnsOrNone', z.nullable(dnsView).describe('null where names are not served'));

export const fault = name(
  'Fault',
  z
    .strictObject({
      code: z
        .enum(['refused', 'not_found', 'method_not_allowed', 'conflict', 'fault'])
        .describe(
          "refused: what was asked for is wrong; conflict: it can't be done as things are; fault: one of the switch",
        ),
      message: z.string().describe('a sentence: what, where, and what was expected'),
    })
    .describe('why something was not done; nothing has changed'),
);

/** What is posted; the examples are what a refusal shows. */
export const newForward = name(
  'NewForward',
  z
    .strictObject({ forward: z.string().describe('as for --forward') })
    .meta({ example: { forward: 'PORT:GUEST:PORT' } }),
);
export const newPort = name(
  'NewPort',
  z.strictObject({ port: z.string().describe('as for --port') }).meta({ example: { port: 'KIND:WHERE' } }),
);
export const portChange = name(
  'PortChange',
  z
    .strictObject({ up: z.boolean().describe('down: whatever its guest does') })
    .meta({ example: { up: false } }),
);

const difference = name(
  'Difference',
  z.strictObject({
    setting: z.string(),
    removed: z.array(z.string()).describe('items, or the one value; none where it is more than a word'),
    added: z.array(z.string()),
    restart: z.boolean().describe("it can't be made while the switch runs"),
  }),
);
export const differences = name('Differences', z.array(difference));
export const configFile = name(
  'ConfigFile',
  z
    .strictObject({
      name: z.string().describe('what refusals call it'),
      text: z.string(),
      format: z.enum(['toml', 'json']),
    })
    .meta({ example: { name: 'vsw0.toml', text: 'subnet = "192.168.100.0/24"', format: 'toml' } }),
);
export const config = name(
  'Config',
  z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.array(z.string())]))
    .describe('settings by name, as in a file'),
);
