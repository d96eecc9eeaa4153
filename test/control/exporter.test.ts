/** Figures by TCP: what is answered, what is not, and addresses that can't be had. */
import { request } from 'node:http';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Exporter } from '../../src/control/exporter.ts';
import { OperatorError } from '../../src/errors.ts';

interface Said {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly body: string;
}

const asked = (address: string, port: number, method: string, path: string): Promise<Said> =>
  new Promise((resolve, reject) => {
    const sent = request({ host: address, port, method, path, agent: false }, response => {
      let body = '';
      response.on('data', chunk => {
        body += chunk;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode, type: response.headers['content-type'], body }),
      );
    });
    sent.on('error', reject);
    sent.end();
  });

const withExporter = async (address: string, act: (port: number) => Promise<void>): Promise<void> => {
  const exporter = new Exporter({ address, port: 0 }, () => 'a 1\n');
  const port = await exporter.listen();
  try {
    await act(port);
  } finally {
    await exporter.close();
  }
};

const refusal = async (address: string, port: number): Promise<string> => {
  try {
    await new Exporter({ address, port }, () => '').listen();
  } catch (error) {
    assert.instance(error, OperatorError);
    return (error as OperatorError).message;
  }
  throw new Error('it listens');
};

test('shows figures, and nothing else', () =>
  withExporter('127.0.0.1', async port => {
    const text = 'text/plain; version=0.0.4; charset=utf-8';
    const answer = (method: string, path: string): Promise<Said> => asked('127.0.0.1', port, method, path);
    assert.equal(await answer('GET', '/metrics'), { status: 200, type: text, body: 'a 1\n' });
    assert.equal(await answer('GET', '/metrics?x=1'), { status: 200, type: text, body: 'a 1\n' });
    assert.equal(await answer('HEAD', '/metrics'), { status: 200, type: text, body: '' });
    for (const path of ['/', '/v1/status', '/v1/ports', '/metrics/', '/metricsx'])
      assert.is((await answer('GET', path)).status, 404);
    for (const method of ['POST', 'DELETE', 'PATCH', 'PUT'])
      assert.is((await answer(method, '/metrics')).status, 405);
    assert.is((await answer('DELETE', '/v1/ports/vm1')).status, 404);
  }));

test('at an IPv6 address', () =>
  withExporter('::1', async port => assert.is((await asked('::1', port, 'GET', '/metrics')).status, 200)));

test('figures that can’t be had are a 500, and the next are shown', async () => {
  let broken = true;
  const exporter = new Exporter({ address: '127.0.0.1', port: 0 }, () => {
    if (broken) throw new Error('no figures');
    return 'a 1\n';
  });
  const port = await exporter.listen();
  const { status, body } = await asked('127.0.0.1', port, 'GET', '/metrics');
  assert.equal([status, body], [500, 'Error: no figures\n']);
  broken = false;
  assert.is((await asked('127.0.0.1', port, 'GET', '/metrics')).status, 200);
  await exporter.close();
});

test('an address in use, and one of another host', () =>
  withExporter('127.0.0.1', async port => {
    assert.is(
      await refusal('127.0.0.1', port),
      `--metrics 127.0.0.1:${port}: is in use already; expected a port that is free`,
    );
    assert.match(
      await refusal('2001:db8::1', 9560),
      /^--metrics \[2001:db8::1\]:9560: is no address of this host; expected/,
    );
  }));

test.run();
