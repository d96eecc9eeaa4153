/** ARP for IPv4 over Ethernet, RFC 826, with the probes and announcements of RFC 5227. */
import type { Ip4 } from './address.ts';
import { Drop } from './drop.ts';

export const ARP_SIZE = 28;
export const REQUEST = 1;
export const REPLY = 2;

const OPERATION = 6,
  SENDER_MAC = 8,
  SENDER_IP = 14,
  TARGET_MAC = 18,
  TARGET_IP = 24; // byte offsets
const ETHERNET_IP4 = 0x0001_0800; // hardware type 1, protocol type IPv4
const SIX_AND_FOUR = 0x0604; // hardware and protocol address lengths

/** After Drop.None every accessor below is in bounds and the packet is Ethernet and IPv4. */
export function check(mem: DataView, at: number, bytes: number): Drop {
  if (bytes < ARP_SIZE) return Drop.ArpTruncated;
  if (mem.getInt32(at) !== ETHERNET_IP4 || mem.getUint16(at + 4) !== SIX_AND_FOUR) return Drop.ArpBadFormat;
  return Drop.None;
}

export const operation = (mem: DataView, at: number): number => mem.getUint16(at + OPERATION);
export const senderMacHi = (mem: DataView, at: number): number => mem.getUint16(at + SENDER_MAC);
export const senderMacLo = (mem: DataView, at: number): number => mem.getInt32(at + SENDER_MAC + 2);
/** 0.0.0.0 in a probe. */
export const senderIp = (mem: DataView, at: number): Ip4 => mem.getInt32(at + SENDER_IP) as Ip4;
export const targetIp = (mem: DataView, at: number): Ip4 => mem.getInt32(at + TARGET_IP) as Ip4;

/** Writes all 28 bytes. */
export function emit(
  mem: DataView,
  at: number,
  op: number,
  senderHi: number,
  senderLo: number,
  sender: Ip4,
  targetHi: number,
  targetLo: number,
  target: Ip4,
): void {
  mem.setInt32(at, ETHERNET_IP4);
  mem.setUint16(at + 4, SIX_AND_FOUR);
  mem.setUint16(at + OPERATION, op);
  mem.setUint16(at + SENDER_MAC, senderHi);
  mem.setInt32(at + SENDER_MAC + 2, senderLo);
  mem.setInt32(at + SENDER_IP, sender);
  mem.setUint16(at + TARGET_MAC, targetHi);
  mem.setInt32(at + TARGET_MAC + 2, targetLo);
  mem.setInt32(at + TARGET_IP, target);
}
