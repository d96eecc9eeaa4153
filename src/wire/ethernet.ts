/** Ethernet II frames, IEEE 802.3 §3 and 802.1Q §9: addresses, type, tags. No FCS. */
import { Drop } from './drop.ts';

export const ETHERNET_SIZE = 14;
export const TAG_SIZE = 4;

export const ETHERTYPE_IP4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IP6 = 0x86dd;
export const ETHERTYPE_TAG = 0x8100; // C-tag
export const ETHERTYPE_STAG = 0x88a8;

/** After Drop.None the accessors below are in bounds. */
export const check = (_mem: DataView, _at: number, bytes: number): Drop =>
  bytes < ETHERNET_SIZE ? Drop.FrameTooShort : Drop.None;

export const destinationHi = (mem: DataView, at: number): number => mem.getUint16(at);
export const destinationLo = (mem: DataView, at: number): number => mem.getInt32(at + 2);
export const sourceHi = (mem: DataView, at: number): number => mem.getUint16(at + 6);
export const sourceLo = (mem: DataView, at: number): number => mem.getInt32(at + 8);
/** EtherType of an untagged frame, else the tag's TPID. */
export const type = (mem: DataView, at: number): number => mem.getUint16(at + 12);

/** The VLAN of the outer tag, of a frame that has one. IEEE 802.1Q §9.6. */
export const outerVlan = (mem: DataView, at: number): number => mem.getUint16(at + 14) & 0xfff;

/** Group (multicast or broadcast) address? The I/G bit is the lowest of the first octet. */
export const isGroup = (hi: number): boolean => (hi & 0x0100) !== 0;
export const isBroadcast = (hi: number, lo: number): boolean => hi === 0xffff && lo === -1;

export function setDestination(mem: DataView, at: number, hi: number, lo: number): void {
  mem.setUint16(at, hi);
  mem.setInt32(at + 2, lo);
}

export function setSource(mem: DataView, at: number, hi: number, lo: number): void {
  mem.setUint16(at + 6, hi);
  mem.setInt32(at + 8, lo);
}

/** Writes the 14 bytes of an untagged header. */
export function setHeader(
  mem: DataView,
  at: number,
  toHi: number,
  toLo: number,
  fromHi: number,
  fromLo: number,
  etherType: number,
): void {
  setDestination(mem, at, toHi, toLo);
  setSource(mem, at, fromHi, fromLo);
  mem.setUint16(at + 12, etherType);
}
