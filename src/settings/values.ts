/** Times, names and paths as the operator writes them. */
import { Refusal } from './schema.ts';

const SECONDS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600, d: 86_400 };
const [MIN_LEASE_S, MAX_LEASE_S] = [10, 31_536_000];
export const LEASE_TIME =
  'expected a time from 10s to 365d: seconds, or a number with s, m, h or d, such as 30m';

export function parseLeaseTime(value: string): number | Refusal {
  const [, count, unit] = /^(\d{1,9})([smhd]?)$/.exec(value) ?? [];
  const seconds = Number(count) * (SECONDS[unit ?? ''] ?? 1);
  return seconds >= MIN_LEASE_S && seconds <= MAX_LEASE_S ? seconds : new Refusal(LEASE_TIME);
}

export const DOMAIN = 'expected a DNS name of letters, digits, hyphens and dots, such as vms.example';
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;

export const parseDomain = (value: string): string | Refusal =>
  value.length <= 253 && value.split('.').every(label => LABEL.test(label)) ? value : new Refusal(DOMAIN);

const isAbsolute = (value: string): boolean => value.startsWith('/') && !value.includes('\0');

export const FOLDER = 'expected an absolute path';

export const parseFolder = (value: string): string | Refusal =>
  isAbsolute(value) ? value : new Refusal(FOLDER);

export const PROGRAM = 'expected the absolute path of a program, such as /usr/local/bin/on-lease';

/** Whether it is there is looked at when the switch starts. */
export const parseProgram = (value: string): string | Refusal =>
  isAbsolute(value) ? value : new Refusal(PROGRAM);
