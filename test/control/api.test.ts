/** The control API over its socket: views, changes, and what it says to those who ask wrongly. */
import { once } from 'node:events';

import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, request } from 'node:http';

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Api } from '../../src/control/api.ts';
import { ask, follow, receive, tell } from '../../src/control/client.ts';
import type { Actions, CloudInitView, ForwardView, Views } from '../../src/control/views.ts';
import { OperatorError } from '../../src/errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'vswitchd-api-'));
const path = join(folder, 'vsw0.sock');
const forwards: ForwardView[] = [];
const nothing = { ports: () => [], macs: () => [], leases: () => [], flows: () => [] };

/** What was asked for of ports. */
const plugged: string[] = [];

const seedOf = (port: string, password: string): CloudInitView => {
  if (port !== 'tap+0') throw new OperatorError(`there is no tap ${port}`, { code: 'Usage' });
  return { port, mac: '', address: '', instanceId: '', hostname: '', password, documents: [] };
};

const api = new Api(
  path,
  { ...nothing, forwards: () => forwards, status: () => ({ name: 'vsw0' }) } as unknown as Views,
  {
    restart: async () => 4711,
    addForward: async text => {
      if (text === 'taken') throw new OperatorError('forward taken: is in use', { code: 'Busy' });
      if (text === 'broken') throw new Error('no such thing');
      forwards.push({ protocol: 'tcp', port: 80, guest: text, guestPort: 80 });
    },
    removeForward: async name => {
      if (name !== 'tcp/80') throw new OperatorError(`forward ${name}: there is none`, { code: 'Usage' });
      forwards.length = 0;
    },
    cloudInit: async port => seedOf(port, 'first'),
    resetCloudInit: async port => seedOf(port, 'second'),
    addPort: async text => void plugged.push(text),
    removePort: async name => void plugged.push(`-${name}`),
    setPort: async (name, up) => void plugged.push(`${name} ${up}`),
    config: () => ({}),
    diffConfig: () => [],
    applyConfig: async () => [],
    capture: async (asked, response) => {
      if (asked.get('port') !== 'tap0') throw new OperatorError('no such port', { code: 'Usage' });
      response.end(`${asked.get('filter')}`);
    },
  },
);

test.before(() => api.listen());
test.after(async () => {
  await api.close();
  rmSync(folder, { recursive: true });
});

/** Status and body of what is answered to a request as it stands. */
const raw = (method: string, url: string, body = ''): Promise<[number, Record<string, unknown>]> =>
  new Promise((resolve, reject) => {
    const asked = request({ socketPath: path, method, path: url }, response => {
      let said = '';
      response.on('data', chunk => {
        said += chunk;
      });
      response.on('end', () => resolve([response.statusCode ?? 0, JSON.parse(said)]));
    });
    asked.on('error', reject);
    asked.end(body);
  });

const refusal = (act: Promise<unknown>): Promise<OperatorError> =>
  act.then(
    () => {
      throw new Error('accepted');
    },
    (error: unknown) => {
      assert.instance(error, OperatorError);
      return error as OperatorError;
    },
  );

test('the socket is for its owner and the group that it was given', async () => {
  const other = new Api(join(folder, 'group.sock'), {} as Views, {} as Actions);
  await other.listen(12_345);
  const { mode, gid } = statSync(other.path);
  await other.close();
  assert.equal([mode & 0o777, gid], [0o660, 12_345]);
});

test('a socket whose group can not be set leaves no file', async () => {
  const other = new Api(join(folder, 'nobody.sock'), {} as Views, {} as Actions);
  const failed = await other.listen(2 ** 40).then(
    () => false,
    () => true,
  );
  assert.equal([failed, existsSync(other.path)], [true, false]);
});

test('each question has a connection of its own: one that is kept may have ended when the next is asked', async () => {
  const said: (string | undefined)[] = [];
  const at = join(folder, 'own.sock');
  const server = createServer((asked, answer) => {
    said.push(asked.headers.connection);
    answer.end('{}');
  }).listen(at);
  await once(server, 'listening');
  await ask(at, 'status');
  await tell(at, 'POST', 'ports', { port: 'a' });
  await follow(at, 'events', () => undefined);
  server.close();
  assert.equal(said, ['close', 'close', 'close']);
});

test('views are read', async () => {
  assert.equal(await ask(path, 'status'), { name: 'vsw0' });
  assert.equal(await ask(path, 'forwards'), []);
});

test('a forward is added and taken away', async () => {
  assert.is((await tell<ForwardView[]>(path, 'POST', 'forwards', { forward: 'vm1' })).length, 1);
  assert.equal(await tell(path, 'DELETE', 'forwards/tcp/80'), []);
});

test("what a guest's cloud-init gets is shown, and made anew", async () => {
  const show = (name: string): string => `cloud-init/${encodeURIComponent(name)}`;
  assert.is((await ask<CloudInitView>(path, show('tap+0'))).password, 'first');
  assert.is((await tell<CloudInitView>(path, 'DELETE', show('tap+0'))).password, 'second');
  assert.is((await refusal(ask(path, show('../x')))).message, 'there is no tap ../x');
  assert.is((await refusal(ask(path, 'cloud-init/%zz'))).message, 'there is no tap %zz');
});

test('a capture is asked for with its words, and what is wrong with them comes back', async () => {
  const response = await receive(path, 'capture?port=tap0&filter=udp%20port%2067');
  assert.is(await text(response), 'udp port 67');
  for (const wrong of ['capture', 'capture?port=tap1'])
    assert.is((await refusal(receive(path, wrong))).message, 'no such port');
});

test('what can’t be done comes back as its sentence, with the exit code', async () => {
  const taken = await refusal(tell(path, 'POST', 'forwards', { forward: 'taken' }));
  assert.equal([taken.message, taken.exitCode], ['forward taken: is in use', 3]);
  const none = await refusal(tell(path, 'DELETE', 'forwards/tcp/1'));
  assert.equal([none.message, none.exitCode], ['forward tcp/1: there is none', 2]);
});

for (const [method, url, body, status, code] of [
  ['GET', '/v1/nothing', '', 404, 'not_found'],
  ['GET', '/v1/constructor', '', 404, 'not_found'],
  ['GET', '/', '', 404, 'not_found'],
  ['PUT', '/v1/status', '', 405, 'method_not_allowed'],
  ['POST', '/v1/flows', '{}', 405, 'method_not_allowed'],
  ['GET', '/v1/cloud-init', '', 404, 'not_found'],
  ['PUT', '/v1/cloud-init/tap0', '', 405, 'method_not_allowed'],
  ['GET', '/v1/status?verbose', '', 400, 'refused'],
  ['POST', '/v1/metrics', '', 404, 'not_found'],
  ['GET', '/v1/cloud-init/', '', 404, 'not_found'],
  ['GET', '/v1/cloud-init/a/b', '', 404, 'not_found'],
  ['POST', '/v1/forwards', 'nonsense', 400, 'refused'],
  ['POST', '/v1/forwards', '{"forward": 7}', 400, 'refused'],
  ['POST', '/v1/forwards', 'null', 400, 'refused'],
  ['POST', '/v1/forwards', 'x'.repeat(1_100_000), 400, 'refused'],
  ['POST', '/v1/forwards', '{"forward": "broken"}', 500, 'fault'],
] as const)
  test(`${method} ${url} ${body.slice(0, 20)}: ${status}`, async () => {
    const [answered, said] = await raw(method, url, body);
    assert.equal([answered, said.code], [status, code]);
    assert.type(said.message, 'string');
  });

for (const [url, body, sentence] of [
  ['/v1/ports', '', 'the body is no JSON; expected {"port":"KIND:WHERE"}'],
  ['/v1/ports', '[]', 'the body is no object; expected {"port":"KIND:WHERE"}'],
  ['/v1/ports', '{}', 'the body has no port; expected {"port":"KIND:WHERE"}'],
  ['/v1/ports', '{"port": 7}', 'the body\'s port is of the wrong kind; expected {"port":"KIND:WHERE"}'],
  ['/v1/ports', '{"port": "a", "speed": 1}', 'the body has an unknown speed; expected {"port":"KIND:WHERE"}'],
] as const)
  test(`a body ${body}: what is wrong with it, and nothing is done`, async () => {
    const before = plugged.length;
    assert.equal(await raw('POST', url, body), [400, { code: 'refused', message: sentence }]);
    assert.is(plugged.length, before);
  });

test('a method that a path does not take: those that it does', async () => {
  const asked = request({ socketPath: path, method: 'PUT', path: '/v1/ports' }).end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  response.resume();
  assert.equal([response.statusCode, response.headers.allow], [405, 'GET, POST']);
});

test('the document of all this is served', async () => {
  const [status, { openapi, paths }] = await raw('GET', '/v1/openapi.json');
  assert.equal([status, openapi], [200, '3.1.0']);
  assert.ok(Object.hasOwn(paths as object, '/v1/ports/{name}'));
});

test('nobody at the socket: exit code 3', async () => {
  assert.is((await refusal(ask(join(folder, 'none.sock'), 'status'))).exitCode, 3);
});

test('requests are counted by method and status; a method that nobody knows makes no series', async () => {
  const count = (method: string, code: number): number =>
    api.figures().requests.find(each => each.method === method && each.code === code)?.count ?? 0;
  const before = [count('GET', 200), count('other', 404), count('GET', 404)];
  await raw('GET', '/v1/status');
  await raw('PROPFIND', '/nowhere');
  await raw('REPORT', '/nowhere');
  await raw('GET', '/nowhere');
  await new Promise(resolve => setTimeout(resolve, 50)); // they are counted when they have ended
  const rise = [count('GET', 200), count('other', 404), count('GET', 404)].map((now, i) => now - before[i]!);
  assert.equal(rise, [1, 2, 1]);
  assert.is(api.figures().readers, 0);
});

test.run();
