/** What of the configuration is refused, and with which sentence: alone, and beside something else. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Given } from '../src/config/given.ts';
import { readConfig } from '../src/config.ts';
import { OperatorError } from '../src/errors.ts';

const BASE = { subnet: '192.168.100.0/24', taps: 'tap0,tap1' };

function refusal(options: Given): string {
  try {
    readConfig(options);
  } catch (error) {
    assert.instance(error, OperatorError);
    assert.is((error as OperatorError).exitCode, 2);
    return (error as OperatorError).message;
  }
  return 'accepted';
}

const CIDR = 'expected an IPv4 network as ADDRESS/PREFIX, such as 192.168.100.0/24';
const RANGE = 'expected two IPv4 addresses as FIRST-LAST';

/** What is given, and how the refusal begins. */
const BAD: [Given, string][] = [
  [{}, '--subnet is missing; expected the network'],
  [{ subnet: '10.0.0.0/24' }, '--taps is missing; expected one port each'],
  [{ subnet: '' }, `--subnet "": ${CIDR}`],
  [{ subnet: '10.0.0.0' }, `--subnet 10.0.0.0: ${CIDR}`],
  [{ subnet: '10.0.0/24' }, `--subnet 10.0.0/24: ${CIDR}`],
  [{ subnet: '10.0.0.256/24' }, `--subnet 10.0.0.256/24: ${CIDR}`],
  [{ subnet: '010.0.0.0/24' }, `--subnet 010.0.0.0/24: ${CIDR}`],
  [{ subnet: '10.0.0.0/08' }, `--subnet 10.0.0.0/08: ${CIDR}`],
  [{ subnet: '10.0.0.0/33' }, `--subnet 10.0.0.0/33: ${CIDR}`],
  [{ subnet: '10.0.0.0/24/1' }, `--subnet 10.0.0.0/24/1: ${CIDR}`],
  [{ subnet: 'fd00::/64' }, `--subnet fd00::/64: ${CIDR}`],
  [{ subnet: '10.0.0.0/31' }, '--subnet 10.0.0.0/31: has no room for a gateway and a guest; expected'],
  [{ subnet: '10.0.0.0/32' }, '--subnet 10.0.0.0/32: has no room for a gateway and a guest; expected'],
  [{ subnet: '0.0.0.0/0' }, '--subnet 0.0.0.0/0: is larger than any private network; expected'],
  [
    { subnet: '10.0.0.5/24' },
    '--subnet 10.0.0.5/24: has host bits set; expected a network, such as 10.0.0.0/24',
  ],
  [{ subnet: '127.0.0.0/8' }, '--subnet 127.0.0.0/8: is not a network that hosts can be on; expected'],
  [{ subnet: '224.0.0.0/24' }, '--subnet 224.0.0.0/24: is not a network that hosts can be on; expected'],
  [{ taps: '' }, '--taps "": has an empty name; expected'],
  [{ taps: 'tap0,' }, '--taps tap0,: has an empty name; expected'],
  [{ taps: 'tap0,tap1,tap0' }, '--taps tap0,tap1,tap0: names tap0 twice; expected'],
  [{ taps: 'tap0,tap0@red' }, '--taps tap0,tap0@red: names tap0 twice; expected'],
  [
    { taps: 'sixteen-bytes-16' },
    '--taps sixteen-bytes-16: names sixteen-bytes-16 with 16 bytes; expected at most 15',
  ],
  [{ taps: 'ääääääää' }, '--taps ääääääää: names ääääääää with 16 bytes; expected at most 15'],
  [{ taps: 'a/b' }, '--taps a/b: names "a/b"; expected letters'],
  [{ taps: 'tap 0' }, '--taps "tap 0": names "tap 0"; expected letters'],
  [{ taps: 'tap%d' }, '--taps tap%d: names "tap%d"; expected letters'],
  [{ taps: 'tap*' }, '--taps tap*: names "tap*"; expected letters'],
  [{ taps: '..' }, '--taps ..: names ".."; expected letters'],
  [{ taps: 'tap0:left' }, '--taps tap0:left: asks for the end "left"; expected :device or :interface'],
  [{ taps: 'tap0@' }, '--taps tap0@: names the namespace ""; expected'],
  [{ taps: 'tap0@../x' }, '--taps tap0@../x: names the namespace "../x"; expected'],
  [{ taps: 'tap0@red:interface' }, '--taps tap0@red:interface: asks for the interface end of tap0'],
  [{ taps: Array.from({ length: 255 }, (_, i) => `t${i}`) }, '--taps ['],
  [
    { port: ['wire:/x'] },
    '--port wire:/x: is of the kind "wire"; expected one of tap, stream, dgram, vhost-user',
  ],
  [{ port: ['stream'] }, '--port stream: has no kind; expected KIND:WHERE'],
  [{ port: ['stream:x.sock'] }, '--port stream:x.sock: has the path "x.sock"; expected one from the root on'],
  [{ port: ['stream:/r/'] }, '--port stream:/r/: has the path "/r/"; expected one from the root on'],
  [
    { port: ['stream:/r/ä.sock'] },
    '--port stream:/r/ä.sock: would be named "ä"; expected name= with letters',
  ],
  [
    { port: ['dgram:/r/x,name=a b'] },
    '--port "dgram:/r/x,name=a b": is named "a b"; expected name= with letters',
  ],
  [{ port: ['stream:/r/x,mode=both'] }, '--port stream:/r/x,mode=both: has mode=both; expected mode=server'],
  [
    { port: ['stream:/r/x,mode=client,guests=2'] },
    '--port stream:/r/x,mode=client,guests=2: asks for guests of a client; expected mode=server',
  ],
  [
    { port: ['stream:/r/x,guests=0'] },
    '--port stream:/r/x,guests=0: has guests=0; expected a whole number from 1 to 64',
  ],
  [
    { port: ['vhost-user:/r/x,queues=9'] },
    '--port vhost-user:/r/x,queues=9: has queues=9; expected a whole number from 1 to 8',
  ],
  [
    { port: ['pcap:/r/x.pcap'] },
    '--port pcap:/r/x.pcap: has no mode=; expected mode=record, which writes the file, or mode=replay',
  ],
  [
    { port: ['pcap:/r/x.pcap,mode=record,speed=2'] },
    '--port pcap:/r/x.pcap,mode=record,speed=2: has speed=, which mode=record has no use for; expected limit=, files=, snaplen=',
  ],
  [
    { port: ['pcap:/r/x.pcap,mode=replay,speed=0'] },
    '--port pcap:/r/x.pcap,mode=replay,speed=0: has speed=0; expected max, or times the recorded pace, from 0.001 to 1000',
  ],
  [
    { port: ['pcap:/r/x.pcap,mode=replay,loop=0'] },
    '--port pcap:/r/x.pcap,mode=replay,loop=0: has loop=0; expected a whole number from 1 to 1000000',
  ],
  [
    { port: ['pcap:/r/x.pcap,mode=record,limit=1K'] },
    '--port pcap:/r/x.pcap,mode=record,limit=1K: has limit=1K; expected bytes from 256K to 1024G, such as 100M',
  ],
  [
    { port: ['pcap:x.pcap,mode=record'] },
    '--port pcap:x.pcap,mode=record: has the path "x.pcap"; expected one from the root on, such as pcap:/tmp/all.pcapng',
  ],
  [
    { port: ['dgram:/r/x,peer=y'] },
    '--port dgram:/r/x,peer=y: has the path "y"; expected one from the root on, such as peer=/run/guest.sock',
  ],
  [
    { port: ['dgram:/r/x,mode=client'] },
    '--port dgram:/r/x,mode=client: has "mode=client", which no dgram port takes; expected name=, peer= behind it',
  ],
  [
    { port: ['stream:/r/x,name=a,name=b'] },
    '--port stream:/r/x,name=a,name=b: has name= twice; expected each once',
  ],
  [
    { port: ['stream:/r/x', 'dgram:/s/x'] },
    '--port ["stream:/r/x","dgram:/s/x"]: names x twice; expected each port once, and name= where paths end alike',
  ],
  [
    { port: ['tap:tap9,name=x'] },
    '--port tap:tap9,name=x: has "name=x", which no tap port takes; expected nothing behind it',
  ],
  [{ port: ['tap:tap0'] }, '--port tap:tap0: names tap0, which is a tap of --taps; expected each port once'],
  [
    { port: ['tap:tap9:left'] },
    '--port tap:tap9:left: asks for the end "left"; expected :device or :interface',
  ],
  [{ name: 'tap0' }, '--name tap0: is also the name of a port; expected another'],
  [{ name: 'a b' }, '--name "a b": names "a b"; expected letters'],
  [{ mtu: '575' }, '--mtu 575: expected a whole number of bytes from 576 to 65521'],
  [{ mtu: '65522' }, '--mtu 65522: expected a whole number of bytes'],
  [{ mtu: '1e3' }, '--mtu 1e3: expected a whole number of bytes'],
  [{ mtu: '' }, '--mtu "": expected a whole number of bytes'],
  [{ mtu: 1500.5 }, '--mtu 1500.5: expected a whole number of bytes'],
  [{ ageing: '9' }, '--ageing 9: expected a whole number of seconds from 10 to 1000000'],
  [{ 'max-macs': '-1' }, '--max-macs -1: expected a whole number of MAC addresses'],
  [{ 'max-flows': '0' }, '--max-flows 0: expected a whole number of flows'],
  [{ 'dhcp-range': '10.0.0.5' }, `--dhcp-range 10.0.0.5: ${RANGE}`],
  [{ 'dhcp-range': 'a-b' }, `--dhcp-range a-b: ${RANGE}`],
  [
    { 'dhcp-range': '192.168.100.9-192.168.100.8' },
    '--dhcp-range 192.168.100.9-192.168.100.8: ends before it begins',
  ],
  [
    { 'dhcp-range': '10.0.0.5-192.168.100.8' },
    '--dhcp-range 10.0.0.5-192.168.100.8: begins outside 192.168.100.0/24',
  ],
  [
    { 'dhcp-range': '192.168.100.9-192.168.101.8' },
    '--dhcp-range 192.168.100.9-192.168.101.8: ends outside 192.168.100.0/24',
  ],
  [
    { 'dhcp-range': '192.168.100.1-192.168.100.8' },
    '--dhcp-range 192.168.100.1-192.168.100.8: holds the gateway 192.168.100.1; expected',
  ],
  [
    { 'dhcp-range': '192.168.100.9-192.168.100.254' },
    '--dhcp-range 192.168.100.9-192.168.100.254: holds the NAT address 192.168.100.254; expected',
  ],
  [
    { 'dhcp-range': '192.168.100.9-192.168.100.255', 'nat-address': '192.168.100.2' },
    '--dhcp-range 192.168.100.9-192.168.100.255: holds the broadcast address',
  ],
  [
    { 'dhcp-range': '192.168.100.9-192.168.100.9', 'no-dhcp': true },
    '--dhcp-range 192.168.100.9-192.168.100.9: is given',
  ],
  [{ 'nat-address': 'x' }, '--nat-address x: expected an IPv4 address'],
  [{ 'nat-address': '224.0.0.1' }, '--nat-address 224.0.0.1: expected an IPv4 address'],
  [
    { 'nat-address': '192.168.100.1' },
    '--nat-address 192.168.100.1: is the gateway of 192.168.100.0/24; expected',
  ],
  [{ 'nat-address': '192.168.100.255' }, '--nat-address 192.168.100.255: is the broadcast address'],
  [{ 'lease-time': '5s' }, '--lease-time 5s: expected a time from 10s to 365d'],
  [{ 'lease-time': '366d' }, '--lease-time 366d: expected a time'],
  [{ 'lease-time': '1w' }, '--lease-time 1w: expected a time'],
  [{ dns: '9.9.9' }, '--dns 9.9.9: expected IPv4 addresses'],
  [{ dns: '9.9.9.9,' }, '--dns 9.9.9.9,: expected IPv4 addresses'],
  [{ domain: 'a..b' }, '--domain a..b: expected a DNS name'],
  [{ domain: '-a' }, '--domain -a: expected a DNS name'],
  [{ 'dhcp-probe': '501' }, '--dhcp-probe 501: expected a whole number of milliseconds from 0 to 500'],
  [{ 'lease-hook': 'on-lease' }, '--lease-hook on-lease: expected the absolute path of a program'],
  [{ 'lease-hook': '/x', 'no-dhcp': true }, '--lease-hook /x: is given beside no-dhcp; expected one'],
  [{ 'dhcp-probe': '9', 'no-dhcp': true }, '--dhcp-probe 9: is given beside no-dhcp; expected one'],
  [
    { 'release-on-detach': true, uplink: 'bridge:eth0' },
    "--release-on-detach true: is given beside uplink bridge, where the LAN's own server serves",
  ],
  [{ 'cloud-init': 'seed' }, '--cloud-init seed: expected an absolute path'],
  [
    { 'cloud-init': '/seed', uplink: 'passt' },
    '--cloud-init /seed: is given beside uplink passt; expected uplink tun, as the host serves it',
  ],
  [
    { 'cloud-init': '/seed', forward: '8000:192.168.100.10:80' },
    '--forward 8000:192.168.100.10:80: takes tcp/8000, where cloud-init is served; expected another port',
  ],
  [{ 'cloud-init': '/seed', uplink: 'none' }, '--cloud-init /seed: is given beside uplink none; expected'],
  [
    { 'cloud-init': '/seed', 'cloud-init-port': '0' },
    '--cloud-init-port 0: expected a TCP port from 1 to 65535',
  ],
  [
    { 'cloud-init': '/seed', 'cloud-init-port': '65536' },
    '--cloud-init-port 65536: expected a TCP port from 1 to 65535',
  ],
  [
    { 'cloud-init-port': '80' },
    '--cloud-init-port 80: is given without cloud-init; expected --cloud-init DIR beside it',
  ],
  [
    { 'cloud-init': '/seed', 'cloud-init-port': '53' },
    '--cloud-init-port 53: is where names are served; expected another, or --no-dns',
  ],
  [
    { host: ['localhost,tap0,192.168.100.9'] },
    '--host localhost,tap0,192.168.100.9: names a guest localhost',
  ],
  [
    { host: ['Gateway,tap0,192.168.100.9'] },
    '--host Gateway,tap0,192.168.100.9: names a guest gateway, which',
  ],
  [
    { domain: 'localhost' },
    '--domain localhost: is special; expected a name of your own, such as vsw.internal',
  ],
  [{ domain: 'x.in-addr.ARPA' }, '--domain x.in-addr.ARPA: is special; expected'],
  [{ 'phone-home-hook': '/bin/true' }, '--phone-home-hook /bin/true: is given without cloud-init; expected'],
  [{ 'dns-record': '' }, '--dns-record "": "" is no record; expected NAME=ADDRESS, or NAME with A'],
  [{ 'dns-record': 'nas' }, '--dns-record nas: "nas" is no record; expected NAME=ADDRESS'],
  [{ 'dns-record': 'nas=1.2.3' }, '--dns-record nas=1.2.3: "nas=1.2.3" has no IPv4 address; expected one'],
  [{ 'dns-record': 'n+s=1.2.3.4' }, '--dns-record n+s=1.2.3.4: "n+s=1.2.3.4" names n+s; expected a DNS name'],
  [
    { 'dns-record': 'nas AAAA fe80::1%eth0' },
    '--dns-record "nas AAAA fe80::1%eth0": "nas AAAA fe80::1%eth0" has no',
  ],
  [{ 'dns-record': 'nas MX mail' }, '--dns-record "nas MX mail": "nas MX mail" is no record; expected'],
  [{ 'dns-record': 'nas SRV 1 2 mail' }, '--dns-record "nas SRV 1 2 mail": "nas SRV 1 2 mail" is no record'],
  [
    { 'dns-record': 'a SRV 1 2 70000 b' },
    '--dns-record "a SRV 1 2 70000 b": "a SRV 1 2 70000 b" is no record',
  ],
  [{ 'dns-record': 'nas NAPTR x' }, '--dns-record "nas NAPTR x": "nas NAPTR x" is no record; expected'],
  [
    { 'dns-record': '1.2.3.4 A 1.2.3.4' },
    '--dns-record "1.2.3.4 A 1.2.3.4": "1.2.3.4 A 1.2.3.4" names 1.2.3.4; expected',
  ],
  [{ 'dns-record': `t TXT ${'x'.repeat(4_001)}` }, `--dns-record "t TXT ${'x'.repeat(200 - 7)}…: "t TXT x`],
  [
    { 'dns-record': ['a CNAME b', 'a=1.2.3.4'] },
    '--dns-record ["a CNAME b","a=1.2.3.4"]: has other records beside the alias a.vsw.internal; expected',
  ],
  [
    { 'dns-record': '@ CNAME b' },
    '--dns-record "@ CNAME b": has other records beside the alias vsw.internal',
  ],
  [
    { 'dns-record': 'a CNAME b.example' },
    '--dns-record "a CNAME b.example": has the alias a.vsw.internal of b.example, which is asked for elsewhere; expected',
  ],
  [{ 'dns-record': 'a=1.2.3.4', 'no-dns': true }, '--dns-record a=1.2.3.4: is given beside no-dns; expected'],
  [
    { 'dns-record': 'a=1.2.3.4', uplink: 'bridge:eth0' },
    '--dns-record a=1.2.3.4: is given beside uplink bridge, where',
  ],
  [{ dns: '127.0.0.53', 'no-dns': true }, "--dns 127.0.0.53: names an address of the host's loopback, which"],
  [{ dns: '192.168.100.1' }, '--dns 192.168.100.1: names the gateway, where the service itself is; expected'],
  [{ uplink: 'bridge' }, '--uplink bridge: expected tun, passt, none, or bridge: with'],
  [{ uplink: 'bridge:' }, '--uplink bridge:: expected tun, passt, none, or bridge: with'],
  [{ uplink: 'bridge:a b' }, '--uplink "bridge:a b": names "a b"; expected letters'],
  [{ uplink: 'bridge:a234567890123456' }, '--uplink bridge:a234567890123456: names a234567890123456 with 16'],
  [{ uplink: 'bridge:tap1' }, '--uplink bridge:tap1: is also the name of a port; expected an interface'],
  [
    { uplink: 'bridge:eth0', 'dhcp-range': '192.168.100.10-192.168.100.20' },
    "--dhcp-range 192.168.100.10-192.168.100.20: is given beside uplink bridge, where the LAN's own",
  ],
  [
    { uplink: 'bridge:eth0', forward: '80:192.168.100.10:80' },
    '--forward 80:192.168.100.10:80: is given beside uplink bridge; expected one of the two',
  ],
  [
    { uplink: 'passt', forward: '80:192.168.100.10:80' },
    '--forward 80:192.168.100.10:80: is given beside uplink passt; expected one of the two',
  ],
  [
    { 'storm-limit': 'broadcast' },
    '--storm-limit broadcast: expected broadcast=, multicast=, unknown= or macs=',
  ],
  [{ user: 'no one' }, '--user "no one": expected'],
  [{ user: 'a', firewall: 'ufw' }, '--user a: is given beside firewall ufw'],
  [{ user: 'a', taps: 'tap0@red' }, '--user a: is given beside tap0@red'],
  [{ 'host-access': 'some' }, '--host-access some: expected'],
  [
    { 'host-access': 'none', uplink: 'passt' },
    '--host-access none: is given beside uplink passt; expected uplink tun or none',
  ],
  [{ 'host-access': 'services', firewall: 'none' }, '--host-access services: is given beside firewall none'],
  [{ 'host-access': 'none', 'cloud-init': '/x' }, '--host-access none: is none beside cloud-init'],
  [{ 'storm-limit': 'macs=0' }, '--storm-limit macs=0: expected broadcast=, multicast=, unknown= or macs='],
  [{ 'storm-limit': 'macs=1,macs=2' }, '--storm-limit macs=1,macs=2: expected broadcast=, multicast='],
  [{ 'port-macs': '0' }, '--port-macs 0: expected a number of MAC addresses from 1 to 65536'],
  [{ 'port-macs': '4,close' }, '--port-macs 4,close: expected a number of MAC addresses from 1 to 65536'],
  [{ 'port-macs': '65537' }, '--port-macs 65537: expected a number of MAC addresses from 1 to 65536'],
  [{ guard: 'loose' }, '--guard loose: expected off or strict'],
  [
    { guard: 'strict', uplink: 'bridge:eth0' },
    '--guard strict: is given beside uplink bridge, where addresses are not ours to know; expected one of the two',
  ],
  [
    { guard: 'strict', 'no-dhcp': true },
    '--guard strict: is given beside no-dhcp, without which nobody has an address; expected one of the two',
  ],
  [{ 'nat-filtering': 'all' }, '--nat-filtering all: expected endpoint, address or address-port'],
  [{ firewall: 'pf' }, '--firewall pf: expected nft, iptables, ufw, firewalld, none or auto'],
  [{ lan: 'a b' }, '--lan "a b": names "a b"; expected letters'],
  [{ lan: 'vsw0' }, '--lan vsw0: is the uplink itself; expected'],
  [{ lan: 'eth0', uplink: 'none' }, '--lan eth0: is given beside uplink none; expected'],
  [
    { lan: 'eth0', firewall: 'none' },
    '--lan eth0: is given beside firewall none, which holds nothing; expected',
  ],
  [{ 'state-dir': 'state' }, '--state-dir state: expected an absolute path'],
  [{ metrics: '9560' }, '--metrics 9560: expected an address of this host and a TCP port, such as'],
  [{ metrics: 'localhost:9560' }, '--metrics localhost:9560: expected an address'],
  [{ metrics: '::1:9560' }, '--metrics ::1:9560: expected an address'],
  [{ metrics: '[127.0.0.1]:9560' }, '--metrics [127.0.0.1]:9560: expected an address'],
  [{ metrics: '127.0.0.1:65536' }, '--metrics 127.0.0.1:65536: expected an address'],
  [{ metrics: '127.0.0.1:0' }, '--metrics 127.0.0.1:0: expected an address'],
  [{ 'log-level': 'loud' }, '--log-level loud: expected trace, debug, info, warn or error'],
];

test('bad input gets one sentence that names the option, the value and what is expected', () => {
  for (const [given, begins] of BAD) {
    const whole = Object.keys(given).length === 0 || begins.includes('is missing');
    const message = refusal(whole ? given : { ...BASE, ...given });
    assert.ok(message.startsWith(begins), `${JSON.stringify(given)}\n  got  ${message}\n  want ${begins}`);
    assert.not.match(message, /\n/);
    assert.match(message, /expected/);
  }
});

test.run();
