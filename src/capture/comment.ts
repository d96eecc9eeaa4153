/** What a capture says of a frame: its record in words, as a packet comment. */
import * as ring from '../dataplane/capturering.ts';
import { formatIp4 } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import * as ip4 from '../wire/ipv4.ts';
import { GSO_NONE, VNET_NEEDS_CSUM } from '../wire/vnet.ts';

const { Outcome } = ring;

/** A port's name by its index. */
export type NameOf = (index: number) => string;

/** Comments that are kept, since most frames get one that others have had; forgotten when there are so many. */
const KEPT_COMMENTS = 1_024;

export class Comments {
  readonly #nameOf: NameOf;
  readonly #kept = new Map<string, Uint8Array>();

  constructor(nameOf: NameOf) {
    this.#nameOf = nameOf;
  }

  /** UTF-8, of the record that begins at a word. */
  of(words: Int32Array, at: number): Uint8Array {
    const text = commentOf(words, at, this.#nameOf);
    const known = this.#kept.get(text);
    if (known !== undefined) return known;
    if (this.#kept.size === KEPT_COMMENTS) this.#kept.clear();
    const bytes = new Uint8Array(Buffer.from(text));
    this.#kept.set(text, bytes);
    return bytes;
  }
}

export function commentOf(words: Int32Array, at: number, nameOf: NameOf): string {
  const way = (words[at + ring.WAY] as number) & 0xff;
  const port = nameOf(words[at + ring.PORT] as number);
  const what = way === ring.IN ? decision(words, at, nameOf) : origin(words, at, nameOf);
  return `${way === ring.IN ? 'in' : 'out'} ${port}: ${what}${unfinished(words[at + ring.OFFLOAD] as number)}`;
}

const dropName = (words: Int32Array, at: number): string => Drop[words[at + ring.REASON] as number] ?? '?';

const marksOf = (words: Int32Array, at: number): number => (words[at + ring.WAY] as number) >>> 16;

/** Of a frame that came in. */
function decision(words: Int32Array, at: number, nameOf: NameOf): string {
  const answered = marksOf(words, at) & ring.MARK_ANSWERED ? ', answered by the gateway' : '';
  return outcome(words, at, nameOf) + answered;
}

function outcome(words: Int32Array, at: number, nameOf: NameOf): string {
  const failed = words[at + ring.FAILED] as number;
  switch (words[at + ring.OUTCOME]) {
    case Outcome.Forwarded:
      return `forwarded to ${nameOf(words[at + ring.OTHER] as number)}${rewritten(words, at, 'to')}${
        failed > 0 ? `, not sent: ${dropName(words, at)}` : ''
      }`;
    case Outcome.Flooded:
      return flooded(words[at + ring.COPIES] as number, failed, dropName(words, at));
    case Outcome.Dropped:
      return `dropped: ${dropName(words, at)}`;
    case Outcome.Arp:
      return 'ARP for the gateway';
    case Outcome.Dhcp:
      return 'to the DHCP server';
    case Outcome.Dns:
      return 'to the name service';
    case Outcome.WaitsForNeighbour:
      return 'waits at the gateway for the answer to its ARP request';
    case Outcome.WaitsForFragment:
      return 'waits at the gateway for the first fragment of its datagram';
    case Outcome.Split:
      return 'sent on by the gateway in fragments';
    case Outcome.Echo:
      return 'answered by the gateway';
    default:
      return '?';
  }
}

function flooded(copies: number, failed: number, reason: string): string {
  if (copies === 0) return `dropped: ${Drop[Drop.NoEgressPort]}`;
  const ports = copies === 1 ? '1 port' : `${copies} ports`;
  return `flooded to ${ports}${failed > 0 ? `, not sent to ${failed} of them: ${reason}` : ''}`;
}

/** Of a frame that goes out. */
function origin(words: Int32Array, at: number, nameOf: NameOf): string {
  const reason = words[at + ring.REASON] === Drop.None ? '' : `, not sent: ${dropName(words, at)}`;
  const doubtful =
    marksOf(words, at) & ring.MARK_REFUSED ? ', of a burst of which the device refused some frames' : '';
  return from(words, at, nameOf) + reason + doubtful;
}

function from(words: Int32Array, at: number, nameOf: NameOf): string {
  switch (words[at + ring.OUTCOME]) {
    case Outcome.FromPort:
      return `from ${nameOf(words[at + ring.OTHER] as number)}${rewritten(words, at, 'from')}`;
    case Outcome.FromControl:
      return "from the switch's services";
    default:
      return 'from the gateway';
  }
}

/** What the NAT has changed: `to` what it is now, `from` what it was before. */
function rewritten(words: Int32Array, at: number, side: 'to' | 'from'): string {
  if ((marksOf(words, at) & ring.MARK_REWRITTEN) === 0) return '';
  const protocol = ((words[at + ring.WAY] as number) >>> 8) & 0xff;
  const [ports, portsNow] = [words[at + ring.PORTS_OF] as number, words[at + ring.PORTS_NOW] as number];
  const source = end(words[at + ring.SOURCE] as number, ports >>> 16, protocol);
  const sourceNow = end(words[at + ring.SOURCE_NOW] as number, portsNow >>> 16, protocol);
  const destination = end(words[at + ring.DESTINATION] as number, ports & 0xffff, protocol);
  const destinationNow = end(words[at + ring.DESTINATION_NOW] as number, portsNow & 0xffff, protocol);
  // An echo has one identifier: it belongs to the inside's end, whose address has changed as well.
  const isEcho = protocol === ip4.ICMP;
  const changed = (before: number, now: number): boolean => words[at + before] !== words[at + now];
  const hasSource = isEcho ? changed(ring.SOURCE, ring.SOURCE_NOW) : source !== sourceNow;
  const hasDestination = isEcho
    ? changed(ring.DESTINATION, ring.DESTINATION_NOW)
    : destination !== destinationNow;
  const told = (what: string, before: string, now: string): string =>
    `, ${what} NATed ${side} ${side === 'to' ? now : before}`;
  return (
    (hasSource ? told('source', source, sourceNow) : '') +
    (hasDestination ? told('destination', destination, destinationNow) : '')
  );
}

const end = (ip: number, port: number, protocol: number): string =>
  port === 0 ? formatIp4(ip) : `${formatIp4(ip)}${protocol === ip4.ICMP ? ' id ' : ':'}${port}`;

/** What the sender has left to its network card, so that nobody looks for a fault in it. */
function unfinished(offload: number): string {
  const needsSum = (offload & VNET_NEEDS_CSUM) !== 0;
  if (((offload >>> 8) & 0x7f) !== GSO_NONE)
    return ` (to be cut into segments of ${offload >>> 16} bytes, checksum unfinished)`;
  return needsSum ? ' (checksum unfinished)' : '';
}
