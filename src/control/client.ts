/** The other end of the control API: what `vswitchctl` and the demo ask it with. */
import { get } from 'node:http';
import { OperatorError } from '../errors.ts';

const TIMEOUT_MS = 5_000;

/** Fetches `GET /v1/<resource>` from the switch that listens on `socketPath`. */
export function ask<T>(socketPath: string, resource: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = get({ socketPath, path: `/v1/${resource}`, timeout: TIMEOUT_MS }, response => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const body: unknown = JSON.parse(Buffer.concat(chunks).toString());
        if (response.statusCode === 200) resolve(body as T);
        else
          reject(
            new Error(`${resource}: the switch answered ${response.statusCode}: ${JSON.stringify(body)}`),
          );
      });
    });
    request.on('timeout', () => request.destroy(new Error(`no answer in ${TIMEOUT_MS} ms`)));
    request.on('error', cause => reject(notReached(socketPath, cause)));
  });
}

const notReached = (socketPath: string, cause: Error): OperatorError =>
  new OperatorError(
    `no switch answers at ${socketPath}: ${cause.message}; is vswitchd running, and with this --name?`,
    {
      code: 'NotRunning',
      cause,
    },
  );
