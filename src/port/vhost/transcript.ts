/**
 * Where a session stands, in the messages that a front end would lead another there by (vhost-user.rst), with their files, and at the
 * end what has come of a message that is not whole yet. Whoever goes on with the connection takes them in before it listens to the
 * front end again. None asks for an answer.
 */
import type { Native } from '../native.ts';
import type { Region } from './memory.ts';
import { HEADER_BYTES, NO_FILE, Request, VERSION } from './protocol.ts';
import type { Ring } from './ring.ts';

/** An area that outlives a connection, and its file. */
export interface Inflight {
  readonly area: ArrayBuffer;
  readonly file: number;
  readonly bytes: number;
  readonly offset: number;
  readonly queues: number;
  readonly size: number;
}

export interface SessionState {
  readonly features: bigint;
  readonly protocol: bigint;
  readonly status: number;
  readonly regions: readonly Region[];
  readonly inflight: Inflight | undefined;
  readonly rings: readonly Ring[];
  /** Of a message that has not all come, and its files. */
  readonly begun: Uint8Array;
  readonly files: readonly number[];
}

/** Writes it to a socket that has room for it; false: it could not take all. */
export function transcribe(native: Native, socket: number, state: SessionState): boolean {
  let whole = true;
  const write = (bytes: Uint8Array, files: readonly number[]): void => {
    whole &&= native.sendMessage(socket, bytes, bytes.length, Int32Array.from(files)) === bytes.length;
  };
  /** `fill`: its payload. */
  const say = (
    request: Request,
    bytes: number,
    fill: (payload: DataView) => void,
    ...files: readonly number[]
  ): void => {
    const message = new Uint8Array(HEADER_BYTES + bytes);
    const header = new DataView(message.buffer);
    header.setUint32(0, request, true);
    header.setUint32(4, VERSION, true);
    header.setUint32(8, bytes, true);
    fill(new DataView(message.buffer, HEADER_BYTES));
    write(message, files);
  };
  const number = (request: Request, value: bigint, ...files: readonly number[]): void =>
    say(request, 8, payload => payload.setBigUint64(0, value, true), ...files);
  const ofRing = (request: Request, index: number, value: number): void =>
    number(request, BigInt(index) | (BigInt(value) << 32n));

  number(Request.SetProtocolFeatures, state.protocol);
  number(Request.SetFeatures, state.features);
  if (state.status !== 0) number(Request.SetStatus, BigInt(state.status)); // 0 is a reset
  for (const { guest, user, bytes, file, offset } of state.regions)
    say(Request.AddMemReg, 40, longs(8, guest, bytes, user, offset), file);
  const { inflight } = state;
  if (inflight !== undefined) {
    const { file, bytes, offset, queues, size } = inflight;
    const fill = (payload: DataView): void => {
      longs(0, bytes, offset)(payload);
      payload.setUint16(16, queues, true);
      payload.setUint16(18, size, true);
    };
    say(Request.SetInflightFd, 24, fill, file);
  }
  for (const [index, ring] of state.rings.entries()) {
    const { addresses, call, error, kick } = ring;
    ofRing(Request.SetVringNum, index, ring.size);
    ofRing(Request.SetVringBase, index, ring.last);
    if (ring.enabled) ofRing(Request.SetVringEnable, index, 1);
    if (addresses !== undefined) {
      const { descriptors, used, available } = addresses;
      const fill = (payload: DataView): void => {
        longs(8, descriptors, used, available)(payload);
        payload.setUint32(0, index, true);
      };
      say(Request.SetVringAddr, 40, fill);
    }
    if (call >= 0) number(Request.SetVringCall, BigInt(index), call);
    if (error >= 0) number(Request.SetVringErr, BigInt(index), error);
    if (ring.wanted && kick >= 0) number(Request.SetVringKick, BigInt(index), kick);
    else if (ring.wanted) number(Request.SetVringKick, BigInt(index | NO_FILE));
  }
  if (state.begun.length > 0) write(state.begun, state.files);
  return whole;
}

/** A payload's 64-bit numbers, one after the other from `at` on. */
const longs =
  (at: number, ...values: readonly number[]) =>
  (payload: DataView): void => {
    for (const [i, value] of values.entries()) payload.setBigUint64(at + 8 * i, BigInt(value), true);
  };
