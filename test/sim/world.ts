/**
 * A switch and its guests in a simulation: the real data plane, gateway and DHCP service, over ports and a store that have
 * faults, in a time of their own. What guests see is held against what must hold; who lives here never lies, but for frames
 * of mere noise.
 *
 *   guests ─ FaultyPort ─ Dataplane ─ Gateway ─ punt ─ DhcpService ─ FaultyStore
 */
import * as assert from 'uvu/assert';
import { answerOf, chaddrOf, clientFrame, clientMac } from '../../fixtures/dhcp.ts';
import { ALL, arpFrame, ethernetFrame, ip, tcpPacket, udpPacket } from '../../fixtures/packets.ts';
import { readReplayConfig } from '../../src/config.ts';
import { type Batch, FLOOD } from '../../src/dataplane/batch.ts';
import { counterMemory } from '../../src/dataplane/counters.ts';
import { Dataplane } from '../../src/dataplane/dataplane.ts';
import { fdbMemory } from '../../src/dataplane/fdb.ts';
import { countFlows } from '../../src/gateway/flowcount.ts';
import { flowMemory } from '../../src/gateway/flowmemory.ts';
import { Gateway } from '../../src/gateway/gateway.ts';
import { packFlows } from '../../src/gateway/packedflows.ts';
import { dhcpSettings, gatewaySettings } from '../../src/identity.ts';
import { MemoryPort } from '../../src/port/memory.ts';
import { LeaseState } from '../../src/service/dhcp/leases.ts';
import { DhcpService } from '../../src/service/dhcp/service.ts';
import { MemoryStore } from '../../src/service/dhcp/store.ts';
import { formatIp4, type Ip4 } from '../../src/wire/address.ts';
import * as arp from '../../src/wire/arp.ts';
import { Code, MessageType } from '../../src/wire/dhcp.ts';
import * as ethernet from '../../src/wire/ethernet.ts';
import { ACK, FIN, RST, SYN } from '../../src/wire/tcp.ts';
import type { Random } from '../random.ts';
import { Clock, turn } from './clock.ts';
import { FaultyPort, FaultyStore, NO_FAULTS, type PortRates, type StoreRates } from './faults.ts';
import { macText, tagged } from './frames.ts';
import { Watched } from './watched.ts';

const CLIENTS = 12;
const GUEST_PORTS = 4;
const UPLINK = 0;
const MAX_MACS = 48;
const MAX_FLOWS = 96;
const AGEING_S = 300;
const START_UNIX_MS = 1_800_000_000_000;
/** Ticks in a gap between events: enough to go once over every table. */
const MOST_TICKS = 256;
const TICK_MS = 100;
/** From one thing to the next. */
const GAPS_MS = [0, 0, 1, 1, 20, 20, 200, 200, 2_000, 2_000, 30_000, 300_000, 1_800_000];
const WORLD = ip('203.0.113.9');
/** Fewer addresses than clients, so that one's end is another's beginning. */
const CONFIG = readReplayConfig({
  subnet: '192.168.100.0/24',
  'dhcp-range': '192.168.100.10-192.168.100.19',
  'lease-time': '1h',
  'max-flows': String(MAX_FLOWS),
});
/** What each frame for the uplink must be for. */
const TO_HOST = `0 ${gatewaySettings(CONFIG).uplinkMac.hi} ${gatewaySettings(CONFIG).uplinkMac.lo}`;
const PORT_RATES: PortRates = { loss: 20, short: 5, again: 20, refused: 10, gone: 1 };
const STORE_RATES: StoreRates = { failing: 50, slow: 50, slowMs: 8_000 };
/** With this of a client's words, none of them is lost by chance for long: so it is served in the end. */
const CALM: StoreRates = { failing: 0, slow: 0, slowMs: 1 };

interface Client {
  readonly n: number;
  port: number;
  xid: number;
  askedAtMs: number;
  ip: Ip4 | undefined;
  /** What it had last, for the day it returns. */
  last: Ip4 | undefined;
  /** Unix ms. */
  untilMs: number;
}

export class World {
  readonly clock = new Clock(START_UNIX_MS);
  readonly clients: readonly Client[];
  /** How often each thing happened, for tests that must not be about nothing. */
  readonly done: Record<string, number> = {};
  readonly #next: Random;
  readonly #disk = new MemoryStore();
  readonly #watched: Watched;
  #rates = PORT_RATES;
  #storeRates = STORE_RATES;
  #ports: (MemoryPort | undefined)[] = [];
  #plane!: Dataplane;
  #gateway!: Gateway;
  #dhcp!: DhcpService;
  #flows!: SharedArrayBuffer;
  #punted: { frame: Uint8Array; ingress: number }[] = [];
  /** What the uplink was sent last, for answers. */
  #outside: Uint8Array[] = [];

  constructor(next: Random) {
    this.#next = next;
    this.clients = Array.from({ length: CLIENTS }, (_, n) => ({
      ...{ n: n + 1, port: 1 + (n % GUEST_PORTS), xid: 0, askedAtMs: 0 },
      ...{ ip: undefined, last: undefined, untilMs: 0 },
    }));
    const nowS = (): number => this.clock.nowMs / 1000;
    this.#watched = new Watched({ nowS, uplink: UPLINK, toHost: TO_HOST, ageingS: AGEING_S });
    this.#start();
  }

  /** Everything anew, of which only the disk is left, and the flows of a snapshot. */
  #start(snapshot?: Int32Array): void {
    this.#flows = flowMemory(MAX_FLOWS);
    this.#gateway = new Gateway({
      ...gatewaySettings(CONFIG),
      ...{ uplink: UPLINK, seed: 1 + this.#next(1_000), flowMemory: this.#flows },
      punt: {
        punt: (batch: Batch, row: number) => {
          const at = batch.offset[row] as number;
          const frame = batch.slab.slice(at, at + (batch.length[row] as number));
          this.#punted.push({ frame, ingress: batch.ingress[row] as number });
          return true;
        },
      },
    });
    if (snapshot !== undefined) this.#gateway.restore(snapshot, new Int32Array(0));
    this.#plane = new Dataplane({
      ...{ fdbMemory: fdbMemory(MAX_MACS), counterMemory: counterMemory(), maxMacs: MAX_MACS },
      ...{ ageingS: AGEING_S, seed: 1 + this.#next(1_000), uplink: UPLINK },
      ...{ gateway: this.#gateway, gatewayMac: gatewaySettings(CONFIG).gatewayMac },
      onGone: index => {
        this.#count('gone');
        this.#ports[index] = undefined;
        this.#watched.forgetPort(index);
      },
    });
    this.#watched.forgetAll();
    this.#ports = [];
    for (let index = UPLINK; index <= GUEST_PORTS; index++) this.#plug(index);
    const { after } = this.clock;
    const { dhcp } = CONFIG;
    this.#dhcp = new DhcpService({
      ...dhcpSettings(CONFIG, dhcp!),
      store: new FaultyStore(this.#disk, {
        next: this.#next,
        rates: () => this.#storeRates,
        after,
      }),
      send: (frame, egress) => this.#plane.inject(frame, egress, this.clock.nowMs),
      flood: frame => this.#plane.inject(frame, FLOOD, this.clock.nowMs),
      ...{ after, probeMs: 500, resolvers: () => [], portName: index => `p${index}`, log: () => undefined },
      now: () => this.clock.unixMs,
    });
  }

  #count(what: string): void {
    this.done[what] = (this.done[what] ?? 0) + 1;
  }

  #plug(index: number): void {
    const inner = new MemoryPort(`p${index}`, { offloads: index === UPLINK });
    this.#ports[index] = inner;
    const rates = this.#rates;
    this.#plane.attach(
      index,
      new FaultyPort(inner, index, { next: this.#next, rates, witness: this.#watched }),
    );
  }

  // What may happen.

  async step(): Promise<void> {
    const next = this.#next;
    await this.#pass(GAPS_MS[next(GAPS_MS.length)]!);
    const client = this.clients[next(CLIENTS)]!;
    const what = next(100);
    if (what < 45) this.#dhcpWord(client);
    else if (what < 75) this.#traffic(client);
    else if (what < 85) this.#answerFromOutside();
    else if (what < 90) this.#noise(1 + next(GUEST_PORTS));
    else if (what < 94) this.#move(client);
    else if (what < 97) this.#flap(1 + next(GUEST_PORTS));
    else if (what < 98) this.#kill();
    else if (what < 99) this.#leave(client);
    else this.#flap(UPLINK);
    await this.#settle();
    this.check();
  }

  #say(client: Client, frame: Uint8Array): void {
    this.#give(client.port, frame);
  }

  #give(index: number, frame: Uint8Array): void {
    const padded = new Uint8Array(Math.max(60, frame.length));
    padded.set(frame);
    this.#ports[index]?.give(padded);
    if (this.#next(4) > 0) this.#plane.serve(index, this.clock.nowMs); // or later, in one burst
  }

  #dhcpWord(client: Client): void {
    const { n } = client;
    const isBound = client.ip !== undefined && client.untilMs > this.clock.unixMs;
    client.xid = this.#next(1 << 30);
    client.askedAtMs = this.clock.unixMs;
    if (!isBound) {
      client.ip = undefined;
      if (client.last !== undefined && this.#next(4) === 0) {
        this.#count('reboot');
        const said = { client: n, xid: client.xid, requested: client.last };
        this.#say(client, clientFrame(MessageType.Request, said));
        return;
      }
      this.#count('discover');
      this.#say(client, clientFrame(MessageType.Discover, { client: n, xid: client.xid }));
      return;
    }
    const address = client.ip!;
    if (this.#next(6) > 0) {
      this.#count('renew');
      this.#say(client, clientFrame(MessageType.Request, { client: n, xid: client.xid, ciaddr: address }));
      return;
    }
    this.#count('release');
    const server = CONFIG.subnet.gateway;
    this.#say(client, clientFrame(MessageType.Release, { client: n, ciaddr: address, server }));
    client.ip = undefined;
  }

  #traffic(client: Client): void {
    const next = this.#next;
    const { n } = client;
    const other = clientMac(1 + next(CLIENTS));
    const from = clientMac(n);
    const payload = new Uint8Array(46);
    const kind = next(5);
    if (kind === 0) this.#say(client, ethernetFrame(from, other, 0x88b5, payload));
    else if (kind === 1) this.#say(client, ethernetFrame(from, ALL, 0x88b5, payload));
    else if (kind === 2) this.#say(client, tagged(ethernetFrame(from, other, 0x88b5, payload)));
    else if (client.ip !== undefined) {
      const { gateway } = CONFIG.subnet;
      if (kind === 3)
        this.#say(
          client,
          arpFrame({ operation: arp.REQUEST, sender: from, senderIp: client.ip, targetIp: gateway }),
        );
      else {
        this.#count('outbound');
        const way = { source: client.ip, destination: WORLD };
        const ports = { from: 1_024 + next(64), to: 80 + next(3) };
        const packet =
          next(2) === 0
            ? udpPacket(way, ports, 'x')
            : tcpPacket(way, ports, [SYN, ACK, ACK | FIN, RST][next(4)]!);
        this.#say(client, ethernetFrame(from, gatewaySettings(CONFIG).gatewayMac, 0x0800, packet));
      }
    }
  }

  /** One of the packets that went out last comes back, turned round. */
  #answerFromOutside(): void {
    const packet = this.#outside[this.#next(Math.max(1, this.#outside.length))];
    if (packet === undefined) return;
    this.#count('inbound');
    const mem = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
    const [source, destination] = [mem.getInt32(26) as Ip4, mem.getInt32(30) as Ip4];
    const ports = { from: mem.getUint16(36), to: mem.getUint16(34) };
    const way = { source: destination, destination: source };
    const answer = packet[23] === 17 ? udpPacket(way, ports, 'y') : tcpPacket(way, ports, SYN | ACK);
    const { gatewayMac, uplinkMac } = gatewaySettings(CONFIG);
    this.#give(UPLINK, ethernetFrame(uplinkMac, gatewayMac, 0x0800, answer));
  }

  #noise(index: number): void {
    this.#count('noise');
    const frame = Uint8Array.from({ length: 60 + this.#next(200) }, () => this.#next(256));
    frame[6] = 0x06; // nobody's MAC, and no group's
    if (this.#next(2) === 0)
      ethernet.setHeader(new DataView(frame.buffer), 0, 0xffff, -1, 0x0600, this.#next(1 << 30), 0x0800);
    this.#give(index, frame);
  }

  /** It says so to all, as a machine that was moved does, and somebody has something for it. */
  #move(client: Client): void {
    client.port = 1 + this.#next(GUEST_PORTS);
    const [from, payload] = [clientMac(client.n), new Uint8Array(46)];
    this.#say(client, ethernetFrame(from, ALL, 0x88b5, payload));
    const other = this.clients[this.#next(CLIENTS)]!;
    if (other !== client) this.#say(other, ethernetFrame(clientMac(other.n), from, 0x88b5, payload));
  }

  #leave(client: Client): void {
    client.ip = undefined;
  }

  #flap(index: number): void {
    this.#count('flap');
    if (this.#ports[index] === undefined) this.#plug(index);
    else if (this.#next(2) === 0) {
      this.#plane.detach(index);
      this.#ports[index] = undefined;
      this.#watched.forgetPort(index);
    }
  }

  /** kill -9 and a new start, with the flows of a snapshot, of none, or of a second ago. */
  #kill(): void {
    this.#count('kill');
    const snapshot =
      this.#next(3) > 0 ? packFlows(this.#flows, Math.floor(this.clock.nowMs / 1000)) : undefined;
    this.clock.forget();
    this.#punted = [];
    this.#start(snapshot);
  }

  /** Time goes by, with what is due in it. */
  async #pass(ms: number): Promise<void> {
    const to = this.clock.nowMs + ms;
    for (let act = this.clock.next(to); act !== undefined; act = this.clock.next(to)) {
      act();
      await this.#settle();
    }
    const ticks = Math.min(MOST_TICKS, Math.floor(ms / TICK_MS));
    for (let tick = ticks; tick > 0; tick--) this.#plane.tick(to - (tick - 1) * TICK_MS);
    this.#dhcp.tick();
    this.#watched.isFull = this.#plane.fdb.size >= MAX_MACS;
  }

  /** Till nobody has anything more to say at once. */
  async #settle(): Promise<void> {
    for (let round = 0; round < 50; round++) {
      for (let index = UPLINK; index <= GUEST_PORTS; index++)
        if (this.#ports[index] !== undefined && this.#next(8) > 0) this.#plane.serve(index, this.clock.nowMs);
      if (this.#plane.fdb.size >= MAX_MACS) this.#watched.isFull = true;
      for (const { frame, ingress } of this.#punted.splice(0))
        this.#dhcp.handle(frame, ingress, this.clock.unixMs);
      await turn();
      if (!this.#deliver()) return;
    }
  }

  /** Guests read what has come; false: nothing has. */
  #deliver(): boolean {
    let any = false;
    for (let index = UPLINK; index <= GUEST_PORTS; index++)
      for (const frame of this.#ports[index]?.sent.splice(0) ?? []) {
        any = true;
        if (index === UPLINK) this.#outside = [frame, ...this.#outside].slice(0, 16);
        else for (const client of this.clients) if (client.port === index) this.#hear(client, frame);
      }
    return any;
  }

  #hear(client: Client, frame: Uint8Array): void {
    const mem = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const { hi, lo } = clientMac(client.n);
    const isMine = ethernet.destinationHi(mem, 0) === hi && ethernet.destinationLo(mem, 0) === lo;
    const type = ethernet.type(mem, 0);
    if (type === ethernet.ETHERTYPE_ARP && client.ip !== undefined && client.untilMs > this.clock.unixMs) {
      const asks = arp.operation(mem, 14) === arp.REQUEST && (mem.getInt32(38) as Ip4) === client.ip;
      const [sender, target] = [{ hi: mem.getUint16(22), lo: mem.getInt32(24) }, mem.getInt32(28) as Ip4];
      const said = { operation: arp.REPLY, sender: clientMac(client.n), senderIp: client.ip, target: sender };
      if (asks) this.#say(client, arpFrame({ ...said, targetIp: target }, sender));
      return;
    }
    const isDhcp = type === 0x0800 && frame[23] === 17 && mem.getUint16(36) === 68;
    if (!isDhcp || (!isMine && ethernet.destinationHi(mem, 0) !== 0xffff)) return;
    const { message } = answerOf(frame);
    if (message.xid !== client.xid || Buffer.compare(message.chaddr, chaddrOf(clientMac(client.n))) !== 0)
      return;
    const server = CONFIG.subnet.gateway;
    if (message.type === MessageType.Offer && client.ip === undefined) {
      client.askedAtMs = this.clock.unixMs;
      const said = { client: client.n, xid: client.xid, requested: message.yiaddr, server };
      this.#say(client, clientFrame(MessageType.Request, said));
    } else if (message.type === MessageType.Ack) {
      this.#count('ack');
      if (this.#rates !== NO_FAULTS && this.#next(50) === 0) {
        this.#count('decline');
        client.ip = undefined;
        const said = { client: client.n, requested: message.yiaddr, server };
        this.#say(client, clientFrame(MessageType.Decline, said));
        return;
      }
      client.ip = message.yiaddr;
      client.last = message.yiaddr;
      const lease = message.options.get(Code.LeaseTime)!;
      client.untilMs = client.askedAtMs + new DataView(lease.buffer, lease.byteOffset).getUint32(0) * 1000;
    } else if (message.type === MessageType.Nak) {
      this.#count('nak');
      client.ip = undefined;
      client.last = undefined;
    }
  }

  // What must hold.

  check(): void {
    assert.is(this.#watched.fault, undefined);
    const now = this.clock.unixMs;
    const owners = new Map<Ip4, number>();
    for (const { ip: address, n, untilMs } of this.clients) {
      if (address === undefined || untilMs <= now) continue;
      const text = formatIp4(address);
      assert.is(owners.get(address), undefined, `clients ${owners.get(address)} and ${n} both have ${text}`);
      owners.set(address, n);
      const record = this.#disk.records.get(address);
      assert.is(record?.state, LeaseState.Bound, `${text} of client ${n} is on disk`);
      assert.is(record?.mac, macText(n), text);
      assert.ok(
        record!.expiresS * 1000 > untilMs - 1_000,
        `${text}: till ${record!.expiresS}, ${untilMs} to the client`,
      );
    }
    const { fdb } = this.#plane;
    assert.ok(fdb.size <= MAX_MACS, `${fdb.size} addresses`);
    assert.is(
      fdb.portSizes.reduce((sum, size) => sum + size, 0),
      fdb.size,
      'by port and in all',
    );
    const { byKind, most } = countFlows(this.#flows);
    const flows = [...byKind.values()].reduce((sum, count) => sum + count, 0);
    assert.ok(flows <= most, `${flows} flows`);
  }

  /** All faults end, every client asks again and again, and all who can be are served; then all fall silent, and nothing is left. */
  async end(): Promise<void> {
    this.#rates = NO_FAULTS;
    this.#storeRates = CALM;
    for (let index = UPLINK; index <= GUEST_PORTS; index++) {
      if (this.#ports[index] !== undefined) this.#plane.detach(index);
      this.#plug(index);
    }
    for (let hours = 0; hours < 24; hours++) await this.#pass(3_600_000); // no address is in quarantine any more
    for (let round = 0; round < 200; round++) {
      for (const client of this.clients)
        if (client.ip === undefined || client.untilMs <= this.clock.unixMs) this.#dhcpWord(client);
      await this.#settle();
      await this.#pass(1_000);
      this.check();
    }
    const served = this.clients.filter(
      ({ ip: address, untilMs }) => address !== undefined && untilMs > this.clock.unixMs,
    );
    assert.is(served.length, 10, 'as many as there are addresses');
    for (let hours = 0; hours < 48; hours++) await this.#pass(3_600_000);
    assert.is(
      [...countFlows(this.#flows).byKind.values()].reduce((sum, count) => sum + count, 0),
      0,
      'flows',
    );
    assert.is(this.#plane.fdb.size, 0, 'addresses');
    assert.equal(this.#dhcp.bound(), [], 'leases');
  }
}
