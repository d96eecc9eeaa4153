/** The operator's records, by name. An address has its name in the reverse zone too, unless a PTR of his says another. */
import { reverseOf } from '../../wire/reverse.ts';

/** As dns-packet takes them. Names are whole, in lower case, without the dot at the end. */
export type DnsRecord =
  | { readonly name: string; readonly type: 'A' | 'AAAA' | 'CNAME' | 'PTR'; readonly data: string }
  | { readonly name: string; readonly type: 'TXT'; readonly data: string[] }
  | {
      readonly name: string;
      readonly type: 'MX';
      readonly data: { readonly preference: number; readonly exchange: string };
    }
  | {
      readonly name: string;
      readonly type: 'SRV';
      readonly data: {
        readonly priority: number;
        readonly weight: number;
        readonly port: number;
        readonly target: string;
      };
    };

export class Records {
  readonly #byName = new Map<string, DnsRecord[]>();
  /** Names that have one below them. */
  readonly #above = new Set<string>();

  constructor(records: readonly DnsRecord[]) {
    for (const record of records) this.#add(record);
    for (const { name, type, data } of records) {
      if (type !== 'A' && type !== 'AAAA') continue;
      const reverse = reverseOf(data);
      if (!this.#byName.has(reverse)) this.#add({ name: reverse, type: 'PTR', data: name });
    }
  }

  at(name: string): readonly DnsRecord[] | undefined {
    return this.#byName.get(name);
  }

  hasBelow(name: string): boolean {
    return this.#above.has(name);
  }

  /** Names right in a domain that have an address or an alias by the operator's word. */
  hostsIn(domain: string): string[] {
    return [...this.#byName].flatMap(([name, records]) => {
      const label = name.endsWith(`.${domain}`) ? name.slice(0, -domain.length - 1) : '';
      const isHost = records.some(({ type }) => type === 'A' || type === 'AAAA' || type === 'CNAME');
      return isHost && label !== '' && !label.includes('.') ? [label] : [];
    });
  }

  #add(record: DnsRecord): void {
    const there = this.#byName.get(record.name);
    if (there === undefined) this.#byName.set(record.name, [record]);
    else there.push(record);
    for (let dot = record.name.indexOf('.'); dot >= 0; dot = record.name.indexOf('.', dot + 1))
      this.#above.add(record.name.slice(dot + 1));
  }
}
