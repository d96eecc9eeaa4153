// timeout: 180 s
/** A machine without a disk: QEMU's own boot ROM asks who it is and what to boot, and fetches it from the host by TFTP. */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lineFrom } from '../../src/lab.ts';
import { formatIp4 } from '../../src/wire/address.ts';
import { Code } from '../../src/wire/dhcp.ts';
import { listen } from '../netns/dhcp.ts';
import { GATEWAY, type Stage, SUBNET, stageTests } from '../netns/stage.ts';

const BOOT_MS = 60_000;
const MAC = '02:4c:40:5b:f7:3c';
const ADDRESS = '192.168.100.10';

const inStage = stageTests('px', import.meta.url);

/** dnsmasq as a TFTP server alone, on the gateway's address, which is the host's own on the uplink. */
async function serveFiles({ lab, host }: Stage, files: Record<string, string>): Promise<ChildProcess> {
  const root = join(lab.folder, 'tftp');
  mkdirSync(root);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text);
  const words = ['--keep-in-foreground', '--conf-file=/dev/null', '--user=root', '--port=0'];
  words.push('--log-facility=-', '--enable-tftp', `--tftp-root=${root}`);
  words.push(`--listen-address=${GATEWAY}`, '--bind-interfaces');
  const server = lab.spawn(host, 'dnsmasq', ...words);
  await lineFrom(server, /TFTP root is/, 5_000);
  return server;
}

/** Boots from the network, by the ROM that QEMU has for this device. */
function startDiskless({ lab, host }: Stage, device: string): void {
  const machine = ['-accel', 'tcg', '-m', '64', '-display', 'none', '-no-reboot', '-boot', 'n'];
  const network = ['-netdev', 'tap,id=net0,ifname=tap0,script=no,downscript=no'];
  lab.spawn(
    host,
    'qemu-system-x86_64',
    ...machine,
    ...network,
    '-device',
    `${device},netdev=net0,mac=${MAC}`,
  );
}

/** Starts the switch and a guest; resolves when the server was asked for what matches, with the offer that the guest took. */
async function boot(
  stage: Stage,
  device: string,
  options: string[],
  files: Record<string, string>,
  asked: RegExp,
) {
  const { lab, host } = stage;
  await lab.startSwitch(host, '--subnet', SUBNET, '--taps', 'tap0', ...options);
  const server = await serveFiles(stage, files);
  const ear = await listen({ lab, netns: host, tap: 'tap0', mac: MAC, folder: lab.folder });
  const seen = lineFrom(server, asked, BOOT_MS);
  startDiskless(stage, device);
  await seen;
  const heard = ear.heard();
  assert.equal(
    heard.find(({ what }) => what === 'DISCOVER')?.message.options.get(Code.Architecture),
    Uint8Array.of(0, 0),
  );
  return heard.find(({ what }) => what === 'ACK')?.message;
}

inStage('a virtio guest boots the script for iPXE, and by its own address what that names', async stage => {
  const script = `#!ipxe\nchain tftp://\${next-server}/next-\${net0/ip}\n`; // iPXE fills these in
  const options = ['--boot', 'undionly.kpxe', '--dhcp-tag', 'efi=arch:efi-x64', '--boot', 'tag:efi,ipxe.efi'];
  options.push('--dhcp-tag', 'ipxe=user-class:iPXE', '--boot', 'tag:ipxe,boot.ipxe');
  const ack = await boot(
    stage,
    'virtio-net',
    options,
    { 'boot.ipxe': script },
    new RegExp(`next-${ADDRESS}\\b`),
  );
  assert.is(ack && formatIp4(ack.siaddr), GATEWAY);
  assert.is(String(Buffer.from(ack?.options.get(Code.BootFile) ?? [])), 'boot.ipxe');
  assert.is(ack?.options.get(Code.MachineId)?.length, 17, 'RFC 4578 §2.3: what the client sent');
});

inStage('an e1000 guest asks the server that is named for the file that is', async stage => {
  const files = { 'undionly.kpxe': 'no program' };
  const ack = await boot(
    stage,
    'e1000',
    ['--boot', `undionly.kpxe,${GATEWAY}`],
    files,
    /sent .*\/undionly\.kpxe to/,
  );
  assert.is(ack && formatIp4(ack.siaddr), GATEWAY);
  assert.is(ack && formatIp4(ack.yiaddr), ADDRESS);
});

test.run();
