/** Whose process the switch is, useradd(8). */
import { Refusal } from './schema.ts';

export const USER = "expected a user's name, such as vswitchd";

export const parseUser = (value: string): string | Refusal =>
  /^[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?$/.test(value) ? value : new Refusal(USER);
