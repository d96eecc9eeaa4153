/**
 * How far a TCP connection has come, as far as a NAT must know: RFC 5382 §5 and RFC 7857 §2. A state is a set of what has
 * been seen; how long a flow may stay silent follows from it.
 */
import { ACK, FIN, RST, SYN } from '../wire/tcp.ts';

const SYN_OUT = 1;
const SYN_IN = 2;
const ACK_OUT = 4;
const ACK_IN = 8;
const FIN_OUT = 16;
const FIN_IN = 32;
const RESET = 64;
const FINS = FIN_OUT | FIN_IN;
const ESTABLISHED = SYN_OUT | SYN_IN | ACK_OUT | ACK_IN;

/** RFC 5382 REQ-5: 2 h 4 min, and 4 min for connections that are being opened or closed. */
const ESTABLISHED_S = 7_440;
const TRANSITORY_S = 240;

/**
 * The state after a segment with these flags. A SYN after an end begins again; a segment after an RST says that the RST was
 * not believed (a forged one, RFC 5961), and the connection goes on (RFC 7857 §2.2).
 */
export function after(state: number, flags: number, outbound: boolean): number {
  if (flags & RST) return state | RESET;
  if (flags & SYN) {
    const ended = (state & RESET) !== 0 || (state & FINS) === FINS;
    state = (ended ? 0 : state) | (outbound ? SYN_OUT : SYN_IN);
  }
  state &= ~RESET;
  if (flags & ACK) state |= outbound ? ACK_OUT : ACK_IN;
  if (flags & FIN) state |= outbound ? FIN_OUT : FIN_IN;
  return state;
}

/**
 * Seconds of silence that a connection in this state is allowed. One that is closed from one side alone may go on for as
 * long as an open one (RFC 6146 §3.5.2.2, which RFC 7857 §2.1 takes for all NATs).
 */
export const timeoutS = (state: number): number =>
  (state & ESTABLISHED) === ESTABLISHED && (state & FINS) !== FINS && (state & RESET) === 0
    ? ESTABLISHED_S
    : TRANSITORY_S;

/** The words for states. */
export const STATES = ['opening', 'established', 'closing', 'closed', 'reset'] as const;

/** The state in a word, for people. */
export function stateName(state: number): (typeof STATES)[number] {
  if (state & RESET) return 'reset';
  if ((state & FINS) === FINS) return 'closed';
  if (state & FINS) return 'closing';
  return (state & ESTABLISHED) === ESTABLISHED ? 'established' : 'opening';
}
