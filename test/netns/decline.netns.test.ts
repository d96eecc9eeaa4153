// timeout: 60 s
// coverage: none
/** An address that somebody else uses silently: dhcpcd finds it out by its ARP probe, declines, and gets another. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ended } from '../../src/lab.ts';
import { formatIp4 } from '../../src/wire/address.ts';
import { addGuest, addressed, addressIn, dhcpcd, listen, stateOf, tapsOf, udhcpc } from './dhcp.ts';
import { SUBNET, stageTests } from './stage.ts';

/** Where the switch looks for itself before it offers, the client never finds out. */
const NO_PROBE = ['--dhcp-probe', '0'];
const ROUND = ['DISCOVER', 'OFFER', 'REQUEST selecting', 'ACK'];
const [TAKEN, NEXT, LAST] = ['192.168.100.10', '192.168.100.11', '192.168.100.12'] as const;

const inStage = stageTests('de', import.meta.url);

inStage('dhcpcd declines an address in use; nobody gets it any more, and one line says so', async stage => {
  const { lab, host } = stage;
  const [squatter, guest, other] = [await addGuest(lab, 0), await addGuest(lab, 1), await addGuest(lab, 2)];
  await lab.ip(squatter.netns, 'addr', 'add', `${TAKEN}/24`, 'dev', squatter.tap);
  const words = ['--subnet', SUBNET, ...tapsOf([squatter, guest, other])];
  words.push('--dhcp-range', `${TAKEN}-${LAST}`, ...NO_PROBE);
  const vswitchd = await lab.startSwitch(host, ...words);
  let told = '';
  for (const stream of [vswitchd.stdout, vswitchd.stderr])
    stream?.on('data', (chunk: Buffer) => (told += chunk.toString()));
  const ear = await listen(guest);
  dhcpcd(guest);
  await ear.expect([...ROUND, 'DECLINE', ...ROUND], 20_000);
  const heard = ear.heard();
  const declined = heard.find(({ what }) => what === 'DECLINE');
  assert.is(declined && addressIn(declined.message, 50), TAKEN);
  assert.equal(
    heard.filter(({ what }) => what === 'ACK').map(({ message }) => formatIp4(message.yiaddr)),
    [TAKEN, NEXT],
  );
  assert.is(await stateOf(lab, TAKEN), 'declined');
  assert.is(told.match(/declined 192\.168\.100\.10/g)?.length, 1, told);

  await ended(vswitchd, 'SIGTERM', 5_000);
  await lab.startSwitch(host, ...words);
  assert.is(await stateOf(lab, TAKEN), 'declined', 'the switch remembers it');
  udhcpc(other, '-q', '-r', TAKEN);
  assert.is(await addressed(other), LAST);
});

test.run();
