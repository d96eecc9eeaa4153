/**
 * DNS for guests over UDP: frames in, frames out, to the port, the MAC and the address that the question came from. So only
 * guests are served, and no answer is sent to where nobody asked. How many questions of a port may wait is the resolver's to say.
 */
import type { Ip4, Mac } from '../../wire/address.ts';
import { DNS_PORT } from '../../wire/dns.ts';
import { type Datagram, openDatagram, sealFrame } from '../datagram.ts';

const L3 = 14;
const PROTOCOL = L3 + 9; // byte offsets of an untagged frame
const UDP = 17;

/** What the answers come from. */
export interface Answering {
  /** Calls `done` once, maybe at once; undefined: no answer is due. `client`: who asks, for a fair share. */
  resolve(
    query: Uint8Array,
    overTcp: boolean,
    done: (response: Uint8Array | undefined) => void,
    client: number,
  ): void;
}

export interface DnsServiceOptions {
  readonly gateway: Ip4;
  readonly gatewayMac: Mac;
  readonly resolver: Answering;
  /** Takes a finished frame for a port; false: there was no room. */
  send(frame: Uint8Array, egress: number): boolean;
}

/** Datagrams by what became of them: `broken`: they were none; `silent`: no answer was due; `unsent`: the data plane took no more. */
export type DnsServiceCounters = Record<'queries' | 'answers' | 'silent' | 'unsent' | 'broken', number>;

/** Is a punted frame for this service? A look at protocol and port; whether it is whole is another question. */
export function isDns(frame: Uint8Array): boolean {
  const port = L3 + ((frame[L3] ?? 0) & 15) * 4 + 2;
  return frame[PROTOCOL] === UDP && frame[port] === 0 && frame[port + 1] === DNS_PORT;
}

export class DnsService {
  readonly counters: DnsServiceCounters = { queries: 0, answers: 0, silent: 0, unsent: 0, broken: 0 };
  readonly #options: DnsServiceOptions;

  constructor(options: DnsServiceOptions) {
    this.#options = options;
  }

  /** Takes a punted frame that `isDns`. The answer follows through `send`, maybe at once. */
  handle(frame: Uint8Array, ingress: number): void {
    const datagram = openDatagram(frame);
    if (datagram?.destinationPort !== DNS_PORT || datagram.destination !== this.#options.gateway) {
      this.counters.broken++;
      return;
    }
    this.counters.queries++;
    this.#options.resolver.resolve(
      datagram.payload,
      false,
      response => this.#answer(datagram, ingress, response),
      ingress,
    );
  }

  #answer(datagram: Datagram, ingress: number, response: Uint8Array | undefined): void {
    if (response === undefined) {
      this.counters.silent++;
      return;
    }
    const { gateway, gatewayMac } = this.#options;
    const envelope = {
      sourceMac: gatewayMac,
      destinationMac: datagram.sourceMac,
      source: gateway,
      destination: datagram.source,
      sourcePort: DNS_PORT,
      destinationPort: datagram.sourcePort,
    };
    if (this.#options.send(sealFrame(envelope, response), ingress)) this.counters.answers++;
    else this.counters.unsent++;
  }
}
