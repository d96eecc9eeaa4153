/** The data-plane thread: builds the data plane over the shared memory and runs the loop till it is told to stop. */
import { setPriority } from 'node:os';
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { monotonicMs } from '../clock.ts';
import { Gateway } from '../gateway/gateway.ts';
import { DgramPort } from '../port/dgram.ts';
import { loadNative } from '../port/native.ts';
import { PacketPort } from '../port/packet.ts';
import { RecordPort } from '../port/pcap/record.ts';
import { ReplayPort } from '../port/pcap/replay.ts';
import { NO_REST, type Port, type PortHost, type Rest } from '../port/port.ts';
import { StreamPort } from '../port/stream.ts';
import { TapPort } from '../port/tap.ts';
import { TunPort } from '../port/tun.ts';
import { VhostPort } from '../port/vhost/port.ts';
import { Bindings } from './bindings.ts';
import { Dataplane } from './dataplane.ts';
import { loopOf, run } from './loop.ts';
import type { Command, Event, PortSpec, WorkerSettings } from './messages.ts';
import { Punts } from './punts.ts';
import { FrameRing } from './ring.ts';

const settings = workerData as WorkerSettings;
const control = parentPort as MessagePort;
const native = loadNative();
const punts = new Punts(new FrameRing(settings.memory.punt));
const acknowledged = new Int32Array(settings.memory.acknowledged);
/** With files of its own this thread has its own number for a port's file. */
let own: boolean | undefined;
const epoll = native.epollCreate();

/** Of a MAC in a command. */
const MAC_WORDS = 4;
/** Of this thread alone: frames go before the control plane's work and other programs'. */
const NICENESS = -10;
try {
  setPriority(NICENESS);
} catch {
  // without CAP_SYS_NICE it shares the cores as everybody does
}

const { gatewayMac } = settings.gateway;
const gateway = settings.routes
  ? new Gateway({
      ...settings.gateway,
      uplink: settings.uplink,
      punt: punts,
      seed: settings.seed,
      flowMemory: settings.memory.flows,
      neighbourMemory: settings.memory.neighbours,
      flows: settings.flows,
    })
  : undefined;

const bindings = settings.gateway.strict ? new Bindings(settings.seed) : undefined;

/** By port index: the file that is polled, as this thread knows it. */
const polled = new Map<number, number>();
const attachments = new Map<number, number>();
const dataplane = new Dataplane({
  fdbMemory: settings.memory.fdb,
  counterMemory: settings.memory.counters,
  loopMemory: settings.memory.loop,
  maxMacs: settings.maxMacs,
  portMacs: settings.portMacs,
  stormLimit: settings.stormLimit,
  ageingS: settings.ageingS,
  seed: settings.seed,
  ...(gateway === undefined ? {} : { gateway, gatewayMac }),
  uplink: settings.uplink,
  strict: bindings && { bindings, gatewayIp: settings.gateway.gatewayIp },
  onGone(index: number, fault: string | undefined): void {
    unpoll(index);
    tell(index, { what: 'gone', fault });
  },
});

type Told<T> = T extends Event ? Omit<T, 'index' | 'attachment'> : never;

function tell(index: number, event: Told<Event>): void {
  control.postMessage({ ...event, index, attachment: attachments.get(index) ?? 0 } satisfies Event);
}

const hostOf = (index: number): PortHost => ({
  poll: fd => native.epollAdd(epoll, fd, index),
  unpoll: fd => native.epollRemove(epoll, fd),
  writing: (fd, on) => native.epollWriting(epoll, fd, index, on),
  carrier: up => tell(index, { what: 'carrier', up }),
  drop: (reason, frames) => dataplane.counters.drop(index, reason, frames),
});

function unpoll(index: number): void {
  const fd = polled.get(index);
  if (fd === undefined) return;
  polled.delete(index);
  native.epollRemove(epoll, fd);
  done(fd);
}

function open(index: number, spec: PortSpec): Port {
  switch (spec.kind) {
    case 'tap':
      return new TapPort(spec.name, spec.fd, spec.mtu);
    case 'packet':
      return new PacketPort(spec.name, spec.fd, spec.mtu);
    case 'tun':
      return new TunPort(spec.name, spec.fd, spec.mtu, settings.gateway);
    case 'dgram':
      return new DgramPort(spec.name, spec.fd, spec.mtu, spec.peer, hostOf(index), spec.rest);
    case 'stream':
      return new StreamPort(spec.name, spec.fd, spec.mtu, hostOf(index), spec.rest);
    case 'pcap':
      return spec.mode === 'record'
        ? new RecordPort(spec.name, spec.fd, spec.memory, spec.snapLength)
        : new ReplayPort(spec.name, spec.fd, spec.mtu, spec.memory, hostOf(index));
    case 'vhost-user':
      return new VhostPort(
        spec.name,
        spec.fd,
        spec.mtu,
        spec.queues,
        settings.routes ? gatewayMac : undefined,
        hostOf(index),
        spec.transcript,
      );
  }
}

function attach(index: number, number: number, port: PortSpec): void {
  const fd = fileHere(port.fd);
  attachments.set(index, number);
  const left = port.kind === 'vhost-user' ? port.transcript : undefined;
  const transcript = left === undefined ? undefined : fileHere(left);
  dataplane.attach(index, open(index, { ...port, fd, ...(transcript === undefined ? {} : { transcript }) }));
  if (transcript !== undefined) done(transcript);
  native.epollAdd(epoll, fd, index);
  polled.set(index, fd);
}

/** Is there something already that wakes nobody? */
const goesOn = (port: PortSpec): boolean =>
  (port.kind === 'stream' && port.rest !== undefined) ||
  (port.kind === 'vhost-user' && port.transcript !== undefined);

function learn(macs: Int32Array): void {
  for (let at = 0; at < macs.length; at += MAC_WORDS)
    dataplane.fdb.learn(
      macs[at] as number,
      macs[at + 1] as number,
      macs[at + 2] as number,
      macs[at + 3] as number,
    );
}

/** What a port holds for whoever goes on with its connection. */
function restOf(index: number, transcript: number | undefined): Rest | undefined {
  if (transcript === undefined) return dataplane.port(index)?.rest?.() ?? NO_REST;
  const socket = fileHere(transcript);
  const whole = dataplane.port(index)?.transcribe?.(socket) === true;
  done(socket);
  return whole ? NO_REST : undefined;
}

/** The main thread's file, as this thread has it till `done`. */
const fileHere = (fd: number): number => (own ? native.fetchFile(fd) : fd);

function done(fd: number): void {
  if (own) native.close(fd);
}

function obey(command: Command): boolean {
  // Not before the first command: the main thread waits meanwhile. A pipe by which it was just starting a tool would stay
  // open in our copy of its table, and it would wait for that pipe's end for ever.
  own ??= native.ownFiles();
  if (command.do === 'attach') {
    for (const { index, port } of command.ports) attach(index, command.number, port);
    learn(command.macs);
    for (const { index, port } of command.ports) if (goesOn(port)) dataplane.serve(index, monotonicMs());
  } else if (command.do === 'detach') {
    unpoll(command.index);
    dataplane.detach(command.index);
  } else if (command.do === 'bind') {
    bindings?.change(command.added, command.removed);
  } else if (command.do === 'yield') {
    // All that is to be said first: a port that goes takes what was learnt on it along.
    for (const { index, transcript } of command.ports)
      tell(index, { what: 'yielded', rest: restOf(index, transcript) });
    for (const index of [...polled.keys()]) {
      unpoll(index);
      dataplane.detach(index);
    }
  } else if (command.do === 'restore') {
    gateway?.restore(command.flows, command.neighbours);
  } else if (command.do === 'flush') {
    dataplane.fdb.flush(command.index);
  } else if (command.do === 'clear') {
    dataplane.counters.clear(command.index);
    gateway?.forgetPort(command.index);
  } else if (command.do === 'forward') {
    gateway?.setForwards(command.forwards);
  } else if (command.do === 'egress') {
    gateway?.egress.set(command.policy, true);
  } else if (command.do === 'names') {
    gateway?.egress.learn(command.learnt, command.forgotten);
  } else if (command.do === 'serve') {
    gateway?.serve(command.port, command.aliasPort);
  } else if (command.do === 'capture') {
    dataplane.capture(command.capture);
  } else if (command.do === 'endCapture') {
    dataplane.endCapture(command.id);
  }
  Atomics.store(acknowledged, 0, command.number);
  Atomics.notify(acknowledged, 0);
  return command.do !== 'stop';
}

const wakeControl = (): void => native.eventSignal(settings.puntFd);

const loop = loopOf(epoll, {
  native,
  dataplane,
  inject: new FrameRing(settings.memory.inject),
  wakeFd: settings.wakeFd,
  commands(): boolean {
    for (;;) {
      const received = receiveMessageOnPort(control) as { message: Command } | undefined;
      if (received === undefined) return true;
      if (!obey(received.message)) return false;
    }
  },
  notify: () => punts.tell(wakeControl),
});

function turn(): void {
  if (run(loop)) setImmediate(turn);
  else control.close();
}

turn();
