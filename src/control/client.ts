/** The other end of the control API: what `vswitchctl` and the demo ask it with. */
import { request } from 'node:http';
import { OperatorError } from '../errors.ts';

const TIMEOUT_MS = 5_000;

/** Fetches `GET /v1/<resource>` from the switch that listens on `socketPath`. */
export const ask = <T>(socketPath: string, resource: string): Promise<T> => tell(socketPath, 'GET', resource);

/** Asks for a change, or for a view; resolves with what the switch says, rejects with its reason why not. */
export function tell<T>(
  socketPath: string,
  method: 'GET' | 'POST' | 'DELETE',
  resource: string,
  body?: unknown,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const options = { socketPath, method, path: `/v1/${resource}`, timeout: TIMEOUT_MS };
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
