/** The other end of the control API: what `vswitchctl` and the demo ask it with. */
import { type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';
import { OperatorError } from '../errors.ts';

const TIMEOUT_MS = 5_000;
/** A connection for each question: the switch ends idle ones, and one that has ended unseen fails the next question. */
const OWN = { agent: false } as const;

/** Fetches `GET /v1/<resource>` from the switch that listens on `socketPath`. */
export const ask = <T>(socketPath: string, resource: string): Promise<T> => tell(socketPath, 'GET', resource);

/** Asks for a change, or for a view; resolves with what the switch says, rejects with its reason why not. */
export function tell<T>(
  socketPath: string,
  method: 'GET' | 'POST' | 'DELETE' | 'PATCH',
  resource: string,
  body?: unknown,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const options = { ...OWN, socketPath, method, path: `/v1/${resource}`, timeout: TIMEOUT_MS };
    const asked = request(options, response => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const said: unknown = JSON.parse(Buffer.concat(chunks).toString());
        const status = response.statusCode ?? 500;
        if (status < 300) resolve(said as T);
        else reject(refusal(resource, status, said));
      });
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer in ${TIMEOUT_MS} ms`)));
    asked.on('error', cause => reject(notReached(socketPath, cause)));
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Calls back with each line of a stream; resolves when the switch ends it, and rejects with its reason why not. */
export function follow(socketPath: string, resource: string, line: (text: string) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const asked = request({ ...OWN, socketPath, path: `/v1/${resource}` }, response => {
      const status = response.statusCode ?? 500;
      const lines = createInterface({ input: response });
      lines.on('line', text => {
        if (status < 300) line(text);
        else reject(refusal(resource, status, JSON.parse(text)));
      });
      lines.on('close', resolve);
      response.on('error', () => undefined); // the switch has ended: so has the stream
    });
    asked.on('error', cause => reject(notReached(socketPath, cause)));
    asked.end();
  });
}

/** What the switch sends for as long as it is read; rejects with its reason why not. */
export function receive(socketPath: string, resource: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request({ ...OWN, socketPath, path: `/v1/${resource}` }, response => {
      const status = response.statusCode ?? 500;
      if (status < 300) {
        resolve(response);
        return;
      }
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        reject(refusal(resource, status, JSON.parse(Buffer.concat(chunks).toString()))),
      );
    });
    asked.on('error', cause => reject(notReached(socketPath, cause)));
    asked.end();
  });
}

function refusal(resource: string, status: number, said: unknown): Error {
  const { message } = said as { message?: string };
  if (message !== undefined && (status === 400 || status === 409))
    return new OperatorError(message, { code: status === 400 ? 'Usage' : 'Busy' });
  return new Error(`${resource}: the switch answered ${status}: ${JSON.stringify(said)}`);
}

const notReached = (socketPath: string, cause: Error): OperatorError =>
  new OperatorError(
    `no switch answers at ${socketPath}: ${cause.message}; is vswitchd running, and with this --name?`,
    {
      code: 'NotRunning',
      cause,
    },
  );
