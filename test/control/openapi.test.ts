/** The OpenAPI document: valid, whole, and the same as what the server takes. */
import { Validator } from '@seriousme/openapi-schema-validator';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openApi } from '../../src/control/openapi.ts';
import { ROUTES } from '../../src/control/routes.ts';
import { conforms } from '../conforms.ts';

interface Operation {
  readonly operationId: string;
  readonly requestBody?: { readonly content: Record<string, { readonly schema: object }> };
  readonly parameters: readonly { readonly name: string }[];
}

const document = openApi() as {
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, { readonly additionalProperties?: unknown }> };
};

test('it is a valid OpenAPI 3.1 document', async () => {
  const { valid, errors } = await new Validator().validate(structuredClone(document));
  assert.ok(valid, JSON.stringify(errors));
});

test('the validator refuses what is none', async () => {
  const { valid } = await new Validator().validate({ ...structuredClone(document), paths: { ports: 7 } });
  assert.not.ok(valid);
});

test('every route is in it, under a name of its own', () => {
  const operations = Object.values(document.paths).flatMap(Object.values);
  assert.is(operations.length, ROUTES.length);
  assert.is(new Set(operations.map(({ operationId }) => operationId)).size, ROUTES.length);
  assert.ok(operations.some(({ operationId }) => operationId === 'deletePortsByName'));
});

test('every reference leads somewhere', () => {
  const found = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, to]) => to as string);
  assert.ok(found.length > 20);
  const schemas = Object.keys(document.components.schemas);
  assert.equal(
    found.filter(to => !schemas.includes(to.replace('#/components/schemas/', ''))),
    [],
  );
});

test('a body has its schema, and nothing beside what that names', () => {
  assert.equal(document.paths['/v1/ports']?.post?.requestBody?.content, {
    'application/json': { schema: { $ref: '#/components/schemas/NewPort' } },
  });
  assert.is(document.components.schemas.NewPort?.additionalProperties, false);
});

test('an answer with more, or less, than is documented does not conform', () => {
  const mac = { mac: '02:00:00:00:00:01', vlan: 0, port: 'tap0', ageS: 1 };
  conforms('macs', [mac]);
  assert.throws(() => conforms('macs', [{ ...mac, speed: 1 }]), /GET \/v1\/macs is not as documented/);
  assert.throws(() => conforms('macs', [{ ...mac, port: undefined }]), /GET \/v1\/macs is not as documented/);
});

test.run();
