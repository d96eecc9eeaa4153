/**
 * What goes wrong on the operator's side, and how it is told: one sentence on standard error and an exit code, no stack.
 * The message says what is wrong, with the name and the value, and what to do about it. Everything else that is thrown is
 * a fault of ours, and keeps its stack.
 */
import { basename } from 'node:path';

/** Exit codes; docs/operation.md lists them for people. */
export const EXIT = { fault: 1, usage: 2, refused: 3, differs: 4, restart: 5 } as const;

/** Causes, each with the exit code that it ends the program with. */
const CODES = {
  Usage: EXIT.usage, // an option, a value or the file's content
  Privilege: EXIT.usage, // not root
  NoDevice: EXIT.usage, // no /dev/net/tun
  SubnetTaken: EXIT.usage, // the subnet overlaps a route of this host
  AlreadyRunning: EXIT.refused, // another instance has this name
  Busy: EXIT.refused, // another program or instance has the tap
  NotRunning: EXIT.refused, // vswitchctl: nobody answers
  MissingTool: EXIT.fault,
  HostChange: EXIT.fault, // the host refused a rule, a setting or an interface
  State: EXIT.fault, // the state directory or what is in it
} as const;

export type ErrorCode = keyof typeof CODES;

export interface ErrorDetails {
  readonly code: ErrorCode;
  readonly cause?: unknown;
}

/** A fault that the operator can mend. `message` is one sentence: what is wrong, and what to do. */
export class OperatorError extends Error {
  override readonly name = 'OperatorError';
  readonly code: ErrorCode;
  readonly exitCode: number;

  constructor(message: string, details: ErrorDetails) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined);
    this.code = details.code;
    this.exitCode = CODES[details.code];
  }
}

/** What standard error shows for it. */
export function describeError(error: unknown): string {
  if (error instanceof OperatorError) return error.message;
  if (error instanceof Error) return error.stack ?? error.message;
  return String(error);
}

export const exitCodeOf = (error: unknown): number =>
  error instanceof OperatorError ? error.exitCode : EXIT.fault;

/** Ends the program with the error's sentence and exit code. Cleaning up is the caller's, before. */
export function reportAndExit(error: unknown): never {
  const program = basename(process.argv[1] ?? 'vswitchd', '.js').replace(/^main$/, 'vswitchd');
  console.error(`${program.replace(/^ctl$/, 'vswitchctl')}: ${describeError(error)}`);
  process.exit(exitCodeOf(error));
}
