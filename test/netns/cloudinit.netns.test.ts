// timeout: 150 s
// coverage: none
/** The real cloud-init, as far as it goes without systemd, boots on the seed that the switch serves; twice. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { CloudInitView, LeaseView } from '../../src/control/views.ts';
import { run } from '../../src/host/run.ts';
import { projectRoot } from '../../src/port/native.ts';
import { GATEWAY, plugIn, type Stage, stageTests, TAPS } from './stage.ts';

const inStage = stageTests('ci', import.meta.url);
const TOOLS = join(projectRoot(), 'node_modules/.cache/vswitchd-test');
const BOOT_MS = 60_000;

/** Modules that run anywhere and end with the machine. */
const CONFIG = {
  datasource_list: ['NoCloud', 'None'],
  network: { config: 'disabled' },
  users: [],
  system_info: {
    distro: 'debian',
    paths: { cloud_dir: '/var/lib/cloud', templates_dir: '/etc/cloud/templates' },
  },
  cloud_init_modules: ['write-files', 'set_hostname'],
  cloud_config_modules: ['runcmd'],
  cloud_final_modules: ['scripts-user', 'phone-home'],
};

const USER_DATA = `#cloud-config
# for root@example.com: {{ ds.meta_data }} @@hostname@@
write_files:
- {path: /etc/told, content: "@hostname@ @address@ @password@"}
runcmd:
- [sh, -c, 'echo ran >> /var/ran']
phone_home: {url: "@phone-home-url@", post: [pub_key_ed25519, instance_id, hostname, fqdn], tries: 1}
`;

/** One boot after another on one disk; each says what a test wants to know of it. */
const BOOT = `boot() {
  rm -rf /run/*; hostname machine
  python3 /tools/usr/bin/cloud-init init --local; python3 /tools/usr/bin/cloud-init init
  for mode in config final; do python3 /tools/usr/bin/cloud-init modules --mode $mode; done
}
tell() {
  printf '%s\\n' "$1 all=$(python3 /tools/usr/bin/cloud-init query --all 2>/dev/null | tr -d '\\n')"
  echo "$1 hostname=$(hostname)"; echo "$1 told=$(cat /etc/told)"; echo "$1 ran=$(grep -c ran /var/ran)"
  echo "$1 asked=$(grep -c "open 'http" /var/log/boot$1)"
}
mkdir -p /etc/ssh; echo 'ssh-ed25519 AAAA guest' > /etc/ssh/ssh_host_ed25519_key.pub
for n in $BOOTS; do boot > /var/log/boot$n 2>&1; tell $n; done`;

interface Booted {
  /** `1 hostname`: what the first boot tells. */
  readonly told: ReadonlyMap<string, string>;
  readonly lease: LeaseView;
}

/** Boots red, once for each of `boots`, with cloud-init's configuration and the kernel's command line. */
async function boot(stage: Stage, config: object, commandLine: string, boots: string): Promise<Booted> {
  const { lab, host, red } = stage;
  const seed = join(lab.folder, 'seed');
  mkdirSync(join(seed, 'tap0'), { recursive: true });
  writeFileSync(join(seed, 'tap0/user-data'), USER_DATA);
  const configFile = join(lab.folder, 'cloud.cfg'); // JSON is YAML
  writeFileSync(configFile, JSON.stringify(config));
  await lab.startSwitch(host, ...TAPS, '--cloud-init', seed, '--domain', 'vms.test');
  await plugIn(stage, 'tap0', red);
  await lab.lease(red, 'tap0');
  const machine = [
    'unshare',
    '-m',
    '-u',
    '-i',
    '-p',
    '-f',
    'sh',
    join(projectRoot(), 'test/netns/cloud-init.sh'),
  ];
  const words = [
    ...machine,
    TOOLS,
    configFile,
    'env',
    `DEBUG_PROC_CMDLINE=${commandLine}`,
    `BOOTS=${boots}`,
    'sh',
    '-c',
    BOOT,
  ];
  const said = await run('ip', ['netns', 'exec', red, ...words], { timeoutMs: BOOT_MS });
  const told = new Map(
    said.split('\n').flatMap(line => {
      const [, name, value] = /^(\d [^=]+)=(.*)$/.exec(line) ?? [];
      return name === undefined || value === undefined ? [] : [[name, value] as const];
    }),
  );
  const [lease] = await lab.ask<LeaseView[]>('leases');
  return { told, lease: lease as LeaseView };
}

/** What `cloud-init query --all` says, as far as it is asked for. */
interface Known {
  readonly v1: Readonly<Record<string, string>>;
  readonly ds: { readonly meta_data: Readonly<Record<string, string>> };
  readonly userdata: string;
}

const known = (all = '{}'): Known => JSON.parse(all) as Known;

const before = (): string =>
  `${readFileSync('/etc/hostname', 'utf8')} ${existsSync('/etc/told')} ${existsSync('/var/ran')}`;

inStage(
  'by the kernel’s command line: its name, files and commands; it phones home, and boots again',
  async stage => {
    const untouched = before();
    const { told, lease } = await boot(stage, CONFIG, `ro ds=nocloud-net;s=http://${GATEWAY}:8000/`, '1 2');
    const view = await stage.lab.ask<CloudInitView>('cloud-init/tap0');
    for (const n of ['1', '2']) {
      const { v1, ds, userdata } = known(told.get(`${n} all`));
      assert.equal([v1.instance_id, v1.local_hostname, v1.cloud_id], [view.instanceId, 'tap0', 'nocloud']);
      assert.is(ds.meta_data['local-hostname'], 'tap0.vms.test');
      assert.match(userdata, /^#cloud-config\n# for root@example\.com: \{\{ ds\.meta_data \}\} @hostname@\n/);
      assert.match(
        told.get(`${n} told`) ?? '',
        new RegExp(`^tap0 ${lease.address.replaceAll('.', '\\.')} \\w{20}$`),
      );
      assert.is(told.get(`${n} ran`), '1'); // once an instance
    }
    // meta-data, user-data, vendor-data, and the call home: nothing twice
    assert.equal([told.get('1 asked'), told.get('2 asked')], ['4', '3']);
    assert.is(told.get('1 hostname'), 'tap0');
    assert.is(told.get('2 told'), told.get('1 told')); // what a spent password has become overwrites nothing
    assert.equal(view.phonedHome?.fields, {
      pub_key_ed25519: 'ssh-ed25519 AAAA guest\n',
      instance_id: view.instanceId,
      hostname: 'tap0',
      fqdn: 'tap0.vms.test',
    });
    assert.is(before(), untouched);
  },
);

inStage('by the image’s own configuration, from 169.254.169.254', async stage => {
  const seedfrom = 'http://169.254.169.254/';
  const config = { ...CONFIG, datasource: { NoCloud: { seedfrom } } };
  const { told } = await boot(stage, config, 'ro quiet', '1');
  assert.match(known(told.get('1 all')).v1.instance_id ?? '', /^i-[0-9a-f]{17}$/);
  assert.is(told.get('1 hostname'), 'tap0');
  assert.is(told.get('1 ran'), '1');
});

test.run();
