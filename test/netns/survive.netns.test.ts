// timeout: 120 s
/** Connections through the NAT while the switch is killed and started again. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lineFrom } from '../../src/lab.ts';
import { OUTSIDE, plugIn, type Stage, stageTests, startBareNat, TAPS } from './stage.ts';

const inStage = stageTests('sv', import.meta.url);
/** Both guests' own: so one of them has another port outside, which nothing but a table knows. */
const PORT = 5_555;
const EVERY_MS = 20;

const ECHO = `require('node:net').createServer(c => c.pipe(c)).listen(7, '${OUTSIDE}', () => console.log('ready'));`;

/** Sends a number every few ms over one connection and says how many came back in order, and the longest silence, ms, when told to end. */
const TALK = `
  const c = require('node:net').connect({ host: '${OUTSIDE}', port: 7, localPort: ${PORT} });
  c.setNoDelay(true);
  let sent = 0, got = 0, rest = '', last = Date.now(), silence = 0;
  c.on('error', e => { console.log('broken ' + e.code); process.exit(1); });
  c.on('data', d => {
    const lines = (rest + d).split('\\n'); rest = lines.pop();
    for (const line of lines) { if (Number(line) !== got) console.log('order'); got++; }
    silence = Math.max(silence, Date.now() - last); last = Date.now();
    if (got === 10) console.log('talking');
  });
  const timer = setInterval(() => c.write(sent++ + '\\n'), ${EVERY_MS});
  process.stdin.resume().on('end', () => {
    clearInterval(timer);
    const wait = setInterval(() => { if (got === sent) { console.log(JSON.stringify({ sent, silence })); process.exit(0); } }, 20);
    setTimeout(() => { clearInterval(wait); console.log('lost ' + (sent - got)); process.exit(1); }, 20000);
  });`;

interface Talk {
  readonly sent: number;
  /** ms */
  readonly silence: number;
}

/** Starts a conversation of a guest; resolves when it is under way, with how to end it and hear of it. */
async function talk({ lab }: Stage, netns: string): Promise<() => Promise<Talk>> {
  const child = lab.spawnTalking(netns, process.execPath, '-e', TALK);
  let said = '';
  child.stdout?.on('data', chunk => (said += String(chunk)));
  const ended = new Promise(resolve => child.once('exit', resolve));
  await lineFrom(child, /talking/, 10_000);
  return async () => {
    child.stdin?.on('error', () => undefined); // it may have ended before
    child.stdin?.end();
    await ended;
    assert.match(said, /\{/, said);
    return JSON.parse(said.trim().split('\n').at(-1)!) as Talk;
  };
}

async function startTwo(stage: Stage): Promise<Array<() => Promise<Talk>>> {
  const { lab, red, blue } = stage;
  const out = await startBareNat(stage);
  await plugIn(stage, 'tap1', blue);
  await lab.lease(blue, 'tap1');
  await lineFrom(lab.spawn(out, process.execPath, '-e', ECHO), /ready/, 10_000);
  return [await talk(stage, red), await talk(stage, blue)];
}

inStage('killed and started again: connections that were open a second before go on', async stage => {
  const { lab, host } = stage;
  const talks = await startTwo(stage);
  await new Promise(resolve => setTimeout(resolve, 1_200)); // the file is at most a second old
  const { pid } = await lab.ask<{ pid: number }>('status');
  process.kill(pid, 'SIGKILL');
  await lab.startSwitch(host, ...TAPS, '--firewall', 'none');
  for (const end of talks) {
    const { sent, silence } = await end();
    assert.ok(sent > 50, `${sent}`);
    console.log(`silent for ${silence} ms`);
  }
});

test.run();
