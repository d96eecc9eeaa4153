/** The other end of the control API: what `vswitchctl` and the demo ask it with. */
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
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
      const status = response.statusCode ?? 500;
      saidIn(response).then(said => {
        if (status < 300) resolve(said as T);
        else reject(refusal(resource, status, said));
      }, reject);
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer in ${TIMEOUT_MS} ms`)));
    asked.on('error', cause => reject(notReached(socketPath, cause)));
    asked.end(body === undefined ? undefined : JSON.stringify(body));
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
      saidIn(response).then(said => reject(refusal(resource, status, said)), reject);
    });
    asked.on('error', cause => reject(notReached(socketPath, cause)));
    asked.end();
  });
}

/** Calls back with each line of what the switch sends; resolves when it ends that. */
export async function follow(
  socketPath: string,
  resource: string,
  line: (text: string) => void,
): Promise<void> {
  const response = await receive(socketPath, resource);
  response.on('error', () => undefined); // the switch has ended: so has the stream
  const lines = createInterface({ input: response });
  lines.on('line', line);
  await once(lines, 'close');
}

const saidIn = async (response: IncomingMessage): Promise<unknown> => JSON.parse(await text(response));

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
