/** The control API as an OpenAPI 3.1 document, made of the routes and of the schemas that validate what they take. */
import { z } from 'zod';
import { VERSION } from '../version.ts';
import { ROUTES, type Route } from './routes.ts';
import { fault, named } from './schemas.ts';

const AT = '#/components/schemas/';

export function openApi(): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of ROUTES) {
    paths[route.path] ??= {};
    (paths[route.path] as Record<string, unknown>)[route.method.toLowerCase()] = operation(route);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'vswitchd',
      version: VERSION,
      summary: 'The control API of a user-space virtual Ethernet switch',
      description: 'HTTP over the unix socket /run/vswitchd/NAME.sock, for its owner and the group vswitchd.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: 'http://localhost', description: 'by way of the socket; any host name will do' }],
    paths,
    components: { schemas: components() },
  };
}

const operation = ({ method, path, summary, status = 200, body, query = {}, answer, type }: Route) => ({
  operationId: idOf(method, path),
  summary,
  parameters: [
    ...[...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
      ...{ name, in: 'path', required: true },
      schema: { type: 'string' },
    })),
    ...Object.entries(query).map(([name, description]) => ({
      ...{ name, in: 'query', description },
      schema: { type: 'string' },
    })),
  ],
  ...(body === undefined ? {} : { requestBody: { required: true, content: contentOf(body) } }),
  responses: {
    [status]: { description: summary, content: contentOf(answer, type) },
    default: { description: 'Not done, and why', content: contentOf(fault) },
  },
});

/** `DELETE /v1/ports/{name}`: `deletePortsByName`. */
const idOf = (method: string, path: string): string =>
  method.toLowerCase() +
  path
    .replace(/^\/v1/, '')
    .replaceAll(/\/\{(\w)/g, (_, first: string) => `By${first.toUpperCase()}`)
    .replaceAll(/[/.-](\w)/g, (_, first: string) => first.toUpperCase())
    .replaceAll('}', '');

function contentOf(schema: z.ZodType, type = 'application/json') {
  const id = named.get(schema)?.id;
  return { [type]: { schema: id === undefined ? bare(z.toJSONSchema(schema)) : { $ref: `${AT}${id}` } } };
}

function components(): Record<string, unknown> {
  const { schemas } = z.toJSONSchema(named, { uri: id => `${AT}${id}` });
  return Object.fromEntries(Object.entries(schemas).map(([id, schema]) => [id, bare(schema)]));
}

/** Within a document a schema has no address and no dialect of its own. */
const bare = ({ $schema, $id, ...schema }: Record<string, unknown>): Record<string, unknown> => schema;
