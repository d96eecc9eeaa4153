/** The shield where nftables is not used: an ingress filter that drops all, before any that is there. */
import { OperatorError } from '../errors.ts';
import type { TcChange } from './changes.ts';
import { run } from './run.ts';

/** Our filter's handle, by which it is found among the user's: "vs". */
const HANDLE = 0x7673;
/** The filter, as classic BPF: return TC_ACT_SHOT. It needs no action module, and every distribution's kernel has it. */
const DROP_ALL = ['bpf', 'da', 'bytecode', '1,6 0 0 2'];

interface ShownQdisc {
  readonly kind: string;
}

interface ShownFilter {
  readonly kind: string;
  readonly pref: number;
  readonly options?: { readonly handle?: string };
}

/** Is there a place for ingress filters already? Then it is the user's, and stays. */
export async function hasClsact(name: string): Promise<boolean> {
  return (await show<ShownQdisc>('qdisc', 'show', 'dev', name)).some(qdisc => qdisc.kind === 'clsact');
}

/** Cuts the interface off; once, however often it is called. */
export async function cut({ interface: name, qdisc }: TcChange): Promise<void> {
  if (qdisc && !(await hasClsact(name))) await run('tc', ['qdisc', 'add', 'dev', name, 'clsact']);
  const filters = await filtersOf(name);
  if (filters.some(isOurs)) return;
  if (filters.some(filter => filter.pref === 1)) {
    throw new OperatorError(
      `${name} has an ingress filter at preference 1, so it can't be shielded from the host's stack by tc; give that filter a higher one, or use --firewall nft`,
      { code: 'HostChange' },
    );
  }
  const words = ['filter', 'add', 'dev', name, 'ingress', 'pref', '1', 'protocol', 'all'];
  await run('tc', [...words, 'handle', String(HANDLE), ...DROP_ALL]);
}

/** Takes the filter away, and the qdisc if we put it there. The interface may be gone, and all of it with it. */
export async function uncut({ interface: name, qdisc }: TcChange): Promise<void> {
  try {
    if (!(await hasClsact(name))) return;
    if ((await filtersOf(name)).some(isOurs))
      await run('tc', ['filter', 'delete', 'dev', name, 'ingress', 'pref', '1']);
    // Somebody may have put filters of his own there meanwhile.
    if (qdisc && (await filtersOf(name)).length === 0)
      await run('tc', ['qdisc', 'delete', 'dev', name, 'clsact']);
  } catch {
    // it went meanwhile
  }
}

const isOurs = ({ kind, options }: ShownFilter): boolean =>
  kind === 'bpf' && Number(options?.handle) === HANDLE;

const filtersOf = (name: string): Promise<readonly ShownFilter[]> =>
  show('filter', 'show', 'dev', name, 'ingress');

async function show<T>(...words: string[]): Promise<readonly T[]> {
  return JSON.parse((await run('tc', ['-j', ...words])).trim() || '[]') as readonly T[];
}
