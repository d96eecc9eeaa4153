/** Holds what a running switch answers to the schema that its OpenAPI document shows. */
import { find } from '../src/control/routes.ts';

/** Throws where an answer to `GET /v1/RESOURCE` is not what its route says. */
export function conforms(resource: string, answer: unknown): void {
  const found = find('GET', `/v1/${resource}`);
  if (!('route' in found)) throw new Error(`no route gives ${resource}`);
  const { success, error } = found.route.answer.safeParse(answer);
  if (!success) throw new Error(`GET /v1/${resource} is not as documented: ${error.message}`);
}
