/**
 * What a bare clone lacks, made once: packages, the native addon, the compiled program, the system's tools. Each step is
 * skipped when a hash of what goes into it has not changed. Node's own modules only, as nothing else is there yet.
 *
 *   node tools/setup.mjs [run] [test] [peers] [vm]
 *
 * Says what it does on standard error; standard output belongs to the program that is started afterwards.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Each tool with the Debian package that has it. */
const TOOLS = {
  run: { ip: 'iproute2', nft: 'nftables' },
  test: {
    udhcpc: 'udhcpc',
    dhclient: 'isc-dhcp-client',
    dhcpcd: 'dhcpcd-base',
    ping: 'iputils-ping',
    arping: 'iputils-arping',
    tcpdump: 'tcpdump',
    tshark: 'tshark',
    iperf3: 'iperf3',
    trafgen: 'netsniff-ng',
    iptables: 'iptables',
    ufw: 'ufw',
    'firewall-cmd': 'firewalld',
    'dbus-daemon': 'dbus-daemon',
    traceroute: 'traceroute',
    tracepath: 'iputils-tracepath',
    turnutils_natdiscovery: 'coturn',
    stun: 'stun-client',
    ethtool: 'ethtool',
    ps: 'procps',
    strace: 'strace',
    passt: 'passt',
    dnsmasq: 'dnsmasq-base',
    dig: 'bind9-dnsutils',
    '/usr/lib/klibc/bin/ipconfig': 'klibc-utils',
    '/lib/systemd/systemd-networkd': 'systemd',
    'systemd-analyze': 'systemd',
    groff: 'groff-base',
    mandoc: 'mandoc',
  },
  peers: {
    vde_switch: 'vde2',
    'ovs-vswitchd': 'openvswitch-switch',
    slirp4netns: 'slirp4netns',
    pasta: 'passt',
    perfdhcp: 'kea-admin',
    dnsmasq: 'dnsmasq-base',
    dnsperf: 'dnsperf',
    cc: 'gcc',
  },
  vm: {
    'qemu-system-x86_64': 'qemu-system-x86',
    cpio: 'cpio',
  },
};

/** DPDK's testpmd, its drivers and what it is linked with. Installed, it would bring 200 packages along, udev and another systemd among them. */
const DPDK = {
  folder: 'vswitchd-dpdk',
  packages: [
    'dpdk-dev',
    ...librte(`net-virtio net-vhost bitratestats bpf bus-auxiliary bus-dpaa bus-pci bus-vdev cmdline
      common-dpaax common-iavf common-mlx5- crypto-scheduler cryptodev dmadev eal ethdev eventdev gro gso hash ip-frag kvargs
      latencystats mbuf mempool mempool-dpaa mempool-ring meter metrics net net-bnxt net-bond net-dpaa net-i40e net-ice
      net-ixgbe net-mlx5- pcapng pci pdump rcu reorder ring sched security telemetry timer vhost`),
    ...words(`ibverbs-providers libbsd0 libelf1 libfdt1 libibverbs1 libjansson4 libmd0 libnl-3-200 libnl-route-3-200
      libnuma1 libpcap0.8`),
  ],
};

/**
 * Debian packages that are unpacked below node_modules/.cache and not installed, as that would change this host: a kernel to
 * boot, a resolver that takes resolv.conf over, cloud-init, which sets a host up anew when it boots, servers that start.
 */
const UNPACKED = {
  vm: [{ folder: 'vswitchd-guest', packages: ['linux-image-cloud-amd64', 'busybox-static'] }],
  test: [
    DPDK,
    {
      folder: 'vswitchd-test',
      packages: [
        ...['systemd-resolved', 'isc-dhcp-relay', 'cloud-init'],
        // what cloud-init imports
        ...[
          'attr',
          'certifi',
          'chardet',
          'configobj',
          'idna',
          'jinja2',
          'json-pointer',
          'jsonpatch',
          'jsonschema',
        ]
          .concat('markupsafe', 'netifaces', 'oauthlib', 'pyrsistent', 'requests', 'six', 'urllib3', 'yaml')
          .map(name => `python3-${name}`),
      ],
    },
  ],
  peers: [DPDK, { folder: 'vswitchd-peers', packages: ['kea-dhcp4-server', 'kea-common'] }],
};

function words(text) {
  return text.split(/\s+/);
}

function librte(names) {
  return words(names).map(name => `librte-${name}23`);
}

const say = line => process.stderr.write(`set-up: ${line}\n`);

/** Makes everything that `kinds` (of 'run', 'test', 'peers', 'vm') need. Throws an Error with one sentence when it can't. */
export function setup(kinds) {
  if (arePackagesInstalled()) installSystem(kinds);
  else installBoth(kinds);
  buildNative();
  buildProgram();
  buildPages();
}

/** The system's packages for `kinds`, installed and unpacked. */
function installSystem(kinds) {
  installTools(kinds.flatMap(kind => Object.entries(TOOLS[kind])));
  for (const kind of kinds) for (const group of UNPACKED[kind] ?? []) unpack(group);
}

/** npm's packages, of which one is compiled for two minutes, and the system's at the same time. */
function installBoth(kinds) {
  const both =
    '"$0" "$1" --packages & packages=$!; "$0" "$1" --system $2; system=$?; wait $packages && exit $system';
  run(
    'sh',
    ['-c', both, process.execPath, fileURLToPath(import.meta.url), kinds.join(' ')],
    'packages are missing, as said above',
  );
}

const PACKAGES_STAMP = join(root, 'node_modules/.cache/vswitchd-packages');
const wantedPackages = () => hash([join(root, 'package-lock.json')]);
const arePackagesInstalled = () => stampIs(PACKAGES_STAMP, wantedPackages());

function installPackages() {
  if (arePackagesInstalled()) return;
  if (!packagesAreThere()) {
    say('npm install (packages, as locked; compiles one of them, which takes about a minute)');
    // Not npm ci: it refuses a lock file that lacks the optional packages of other systems, which no Linux needs.
    run('npm', ['install', '--no-save', '--no-audit', '--no-fund'], 'the packages could not be installed');
  }
  setStamp(PACKAGES_STAMP, wantedPackages());
}

/** Are the packages of the lock file installed already, by hand? */
function packagesAreThere() {
  const versions = file =>
    JSON.stringify(
      Object.entries(JSON.parse(readFileSync(join(root, file), 'utf8')).packages)
        .filter(([path, entry]) => path !== '' && entry.optional !== true)
        .map(([path, entry]) => `${path} ${entry.version}`)
        .sort(),
    );
  try {
    return (
      existsSync(join(root, 'node_modules/better-sqlite3/build/Release/better_sqlite3.node')) &&
      versions('package-lock.json') === versions('node_modules/.package-lock.json')
    );
  } catch {
    return false;
  }
}

function buildNative() {
  const stamp = join(root, 'native/build/.stamp');
  const wanted = hash([join(root, 'native/binding.gyp'), ...filesUnder('native/src', /\.[ch]$/)]);
  if (stampIs(stamp, wanted) && existsSync(join(root, 'native/build/Release/vswitchd.node'))) return;
  say('node-gyp rebuild (native addon)');
  // npm puts the node-gyp that it brings along on the path of its scripts
  run(
    'npm',
    ['run', '--silent', 'build:native'],
    'the native addon could not be built: it needs gcc, make and python3',
  );
  setStamp(stamp, wanted);
}

function buildProgram() {
  const stamp = join(root, 'dist/.stamp');
  const sources = ['src', 'test', 'bench', 'fixtures'].flatMap(folder => filesUnder(folder, /\.ts$/));
  const settings = ['tsconfig.json', 'tools/bundle.mjs', 'native/index.d.ts', 'package-lock.json'].map(file =>
    join(root, file),
  );
  const wanted = hash([...settings, ...sources]);
  if (stampIs(stamp, wanted)) return;
  say('tsc (TypeScript)');
  run(
    process.execPath,
    [join(root, 'node_modules/typescript/bin/tsc'), '-p', root],
    'the program does not compile',
  );
  rmSync(join(root, 'dist/program'), { recursive: true, force: true });
  run(process.execPath, [join(root, 'tools/bundle.mjs')], 'the compiled program could not be bundled');
  setStamp(stamp, wanted);
}

/** The man pages, which say what the program's help and the table of its files say. */
function buildPages() {
  const stamp = join(root, 'dist/man/.stamp');
  const wanted = hash(
    ['tools/man.mjs', 'docs/operation.md', 'package.json', 'dist/.stamp'].map(file => join(root, file)),
  );
  if (stampIs(stamp, wanted)) return;
  run(process.execPath, [join(root, 'tools/man.mjs')], 'the man pages could not be made');
  setStamp(stamp, wanted);
}

function installTools(tools) {
  const lacking = tools.filter(([tool]) => !toolIsThere(tool));
  if (lacking.length === 0) return;
  const packages = [...new Set(lacking.map(([, name]) => name))];
  const command = `apt-get install --no-install-recommends ${packages.join(' ')}`;
  if (!existsSync('/etc/debian_version') || !toolIsThere('apt-get') || process.geteuid() !== 0) {
    say(
      `missing on this system: ${lacking.map(([tool]) => tool).join(', ')} (as root on Debian: ${command})`,
    );
    return;
  }
  say(command);
  if (aptInstall(packages)) return;
  const still = lacking.filter(([tool]) => !toolIsThere(tool)).map(([tool]) => tool);
  say(`apt-get failed; going on without ${still.join(', ')}`);
}

/** Packages with units of systemd's that would come up at the next start of the system and change its firewall. */
const FIREWALLS = ['ufw', 'firewalld'];

/**
 * Installs without starting any service: policy-rc.d answers 101, 'not allowed', meanwhile. Nor does one that came along
 * start with the system later: it is wanted as a program only.
 */
function aptInstall(packages) {
  const before = services();
  const policy = '/usr/sbin/policy-rc.d';
  const ours = !existsSync(policy);
  if (ours) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    const install = () =>
      apt(['install', '-y', '-q', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=120', ...packages]);
    return (aptListsAreThere() && install()) || (apt(['update', '-q']) && install());
  } finally {
    if (ours) rmSync(policy, { force: true });
    for (const name of services())
      if (!before.includes(name)) spawnSync('update-rc.d', [name, 'disable'], { stdio: ['ignore', 2, 2] });
    const units = FIREWALLS.filter(name => packages.includes(name));
    if (units.length > 0) spawnSync('systemctl', ['disable', ...units], { stdio: 'ignore' });
  }
}

const services = () => (existsSync('/etc/init.d') ? readdirSync('/etc/init.d') : []);

function unpack({ folder, packages }) {
  const target = join(root, 'node_modules/.cache', folder);
  const stamp = join(target, '.stamp');
  const wanted = packages.join(' ');
  if (stampIs(stamp, wanted)) return;
  say(`apt-get download ${wanted} (unpacked, not installed)`);
  if (!aptListsAreThere()) apt(['update', '-q']);
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  const names = packages.map(kernelBehind);
  if (!apt(['download', '-q', ...names], target))
    throw new Error(`${names.join(', ')} could not be downloaded by apt-get, which the tests need`);
  for (const file of readdirSync(target)) {
    run('dpkg-deb', ['-x', join(target, file), target], `${file} could not be unpacked`);
    rmSync(join(target, file));
  }
  setStamp(stamp, wanted);
}

/** The package of the kernel that a package without a version in its name stands for. */
function kernelBehind(name) {
  if (!name.startsWith('linux-image-')) return name;
  const { stdout } = spawnSync('apt-cache', ['depends', '--important', name], { encoding: 'utf8' });
  return /Depends: (linux-image-\d\S*)/.exec(stdout ?? '')?.[1] ?? name;
}

function aptListsAreThere() {
  try {
    return readdirSync('/var/lib/apt/lists').some(name => name.includes('_Packages'));
  } catch {
    return false;
  }
}

function apt(args, cwd = root) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return spawnSync('apt-get', args, { stdio: ['ignore', 2, 2], env, cwd }).status === 0;
}

const PATH = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin'].filter(
  Boolean,
);

export function toolIsThere(tool) {
  return (tool.startsWith('/') ? [''] : PATH).some(folder => {
    try {
      accessSync(join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function run(command, args, failure) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 2, 2],
    env: { ...process.env, ...headers() },
  });
  if (status !== 0) throw new Error(`${failure}${error === undefined ? '' : ` (${error.message})`}`);
}

/** Node's headers beside this Node, where they are: node-gyp need not download them then. */
function headers() {
  const prefix = dirname(dirname(process.execPath));
  const given = process.env.npm_config_nodedir !== undefined;
  return given || !existsSync(join(prefix, 'include/node/node_api.h')) ? {} : { npm_config_nodedir: prefix };
}

export function filesUnder(folder, pattern) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true })
    .filter(name => pattern.test(name))
    .sort()
    .map(name => join(root, folder, name));
}

/** Of names and contents, and of the Node version that native code is built for. */
function hash(files) {
  const sum = createHash('sha256').update(process.versions.modules);
  for (const file of files) sum.update(file.slice(root.length)).update('\0').update(readFileSync(file));
  return sum.digest('hex');
}

const stampIs = (file, wanted) => existsSync(file) && readFileSync(file, 'utf8') === wanted;

function setStamp(file, value) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, value);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    const [what, ...kinds] = process.argv.slice(2);
    if (what === '--packages') installPackages();
    else if (what === '--system') installSystem(kinds);
    else setup(what === undefined ? ['run'] : [what, ...kinds]);
  } catch (error) {
    say(error.message);
    process.exitCode = 1;
  }
}
