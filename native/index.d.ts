/**
 * The addon: system calls and nothing else. An errno comes back as an Error with `code` ('EBUSY'), `syscall` and `device`
 * (the name or path that it was about), except in the hot calls, which return `-errno`. Arguments are checked: a
 * wrong type or a range outside the slab is a TypeError or RangeError.
 */

/** IFF_TAP or IFF_TUN, with IFF_NO_PI and IFF_VNET_HDR (10-byte header), TUNSETOFFLOAD csum, TSO4/6, USO where known. */
export interface TunOptions {
  name: string;
  mode: 'tap' | 'tun';
  /** An open fd of the network namespace to do it in; a short-lived thread does setns. -1: here. */
  netns: number;
  /** Nothing may be created: the device must be there already, with this index (0: any). ENODEV otherwise. */
  mustExist: boolean;
  ifindex: number;
  /** Leave as it is, or set. */
  persist?: boolean;
}
export function openTun(options: TunOptions): { fd: number; name: string; ifindex: number };
/** A new fd of the network namespace that the tap's interface is in; the caller closes it. EBADFD: the tap is gone. */
export function deviceNetns(fd: number): number;
export function setPersist(fd: number, on: boolean): void;

/**
 * A non-blocking AF_PACKET/SOCK_RAW socket on the interface: PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING,
 * promiscuous membership, PACKET_AUXDATA (a VLAN tag that the kernel took out is put back).
 */
export function openPacket(ifindex: number): number;

/** Index of a name, or name of an index, in a namespace (fd, -1: here). Throws ENODEV/ENXIO. */
export function interfaceIndex(name: string, netns: number): number;
export function interfaceName(ifindex: number, netns: number): string;
/** Sets IFF_UP in a namespace (fd, -1: here). */
export function setUp(name: string, netns: number): void;
export function setMtu(name: string, mtu: number, netns: number): void;
/** Frames that wait in an interface to be sent (txqueuelen): those that a tap's device end has not read yet. */
export function setQueue(name: string, frames: number, netns: number): void;

/**
 * Hot. Reads up to `max` frames from a tap or tun (read) or a packet socket (recvmmsg) to the slab from `start` on, each behind
 * HEADROOM bytes at an offset ≡ 2 mod 4, its 10-byte virtio-net header directly before it, and fills offsets[first …] and lengths[first …].
 * `shift` bytes (14 for a tun, else 0) are left free between the frame's start and the bytes read; offset and length
 * include them and the virtio-net header is left before the bytes read (the port moves it). Returns the number of
 * frames, 0 when there is none, or -errno when nothing could be read (-EBADFD, -ENETDOWN, …). EINTR is retried.
 */
export function readFrames(
  fd: number, slab: Uint8Array, start: number, offsets: Int32Array, lengths: Int32Array, first: number, max: number, shift: number,
): number;
export function receivePackets(
  fd: number, slab: Uint8Array, start: number, offsets: Int32Array, lengths: Int32Array, first: number, max: number,
): number;

/**
 * Hot. Writes the frames rows[0 … count - 1] with their virtio-net headers (write, or sendmmsg), `shift` bytes of each left
 * out in front. Returns how many were taken; fewer than `count` when it would block. A frame that the kernel refuses
 * (EINVAL, EMSGSIZE, ENOBUFS, …) counts as taken and is counted in refused[0]. -errno only when the device is gone or down.
 */
export function writeFrames(
  fd: number, slab: Uint8Array, offsets: Int32Array, lengths: Int32Array, rows: Int32Array, count: number, shift: number, refused: Int32Array,
): number;
export function sendPackets(
  fd: number, slab: Uint8Array, offsets: Int32Array, lengths: Int32Array, rows: Int32Array, count: number, refused: Int32Array,
): number;

/** New unix sockets at a path from the root on, which do not block: listening, connected, bound for datagrams. Errors: EADDRINUSE, ECONNREFUSED, ENOENT, EACCES … */
export function listenUnix(path: string): number;
export function connectUnix(path: string): number;
export function bindDatagrams(path: string): number;
/** The next connection, which does not block; -1 when there is none. */
export function acceptUnix(fd: number): number;
/** Who is at the other end of a connected unix socket, as it was when it connected: user, group, and all further groups. Throws ENOTSOCK, ENOTCONN … */
export function peerOf(fd: number): number[];
/**
 * Hot. Datagrams, each a bare frame, to and from the slab as packet sockets' frames are (recvmmsg, sendmmsg); the virtio-net header
 * before a received one is made zero. `address` (110 bytes) and `addressLength[0]` are the peer's: `receiveDatagrams` puts that of a
 * burst's first sender there where it has one. Returns as readFrames and writeFrames do; -EMSGSIZE: what was read were no frames,
 * and there may be more; -ECONNREFUSED, -ENOENT: the peer is not there.
 */
export function receiveDatagrams(
  fd: number, slab: Uint8Array, start: number, offsets: Int32Array, lengths: Int32Array, first: number, max: number,
  address: Uint8Array, addressLength: Int32Array,
): number;
export function sendDatagrams(
  fd: number, slab: Uint8Array, offsets: Int32Array, lengths: Int32Array, rows: Int32Array, count: number, refused: Int32Array,
  address: Uint8Array, addressLength: Int32Array,
): number;

/**
 * A part of a file as memory that is shared with whoever else has the file, at most 2 GiB, readable and writable. The file may be
 * closed afterwards. Errors: EINVAL when the file is shorter than that, ENOMEM … If it is cut short later, what is touched of the
 * missing part reads as zeros (`patchedPages` counts these). Only `unmapMemory` gives it back; every view of it is empty then.
 */
export function mapMemory(fd: number, offset: number, bytes: number): ArrayBuffer;
export function unmapMemory(memory: ArrayBuffer): void;
export function patchedPages(): number;
/** Is it an eventfd? Then it blocks nobody from now on. Another's may be anything. */
export function adoptEvent(fd: number): boolean;
/** A new file in memory, of zeros. The caller closes it. */
export function createMemory(bytes: number): number;
/**
 * Bytes of a unix stream socket to buffer[from … to - 1], without blocking, with the files that came along: fds[0] says how many,
 * they follow and are the caller's; those that there is no room for are closed. Returns as `receiveBytes` does.
 */
export function receiveMessage(fd: number, buffer: Uint8Array, from: number, to: number, fds: Int32Array): number;
/** The first `bytes` of the buffer, with all of `fds`; how many were taken, or -errno (-EAGAIN too). */
export function sendMessage(fd: number, buffer: Uint8Array, bytes: number, fds: Int32Array): number;

/** Both ends of a new unix stream socket, with room for some 4 MiB under way each way. The caller closes them. */
export function socketPair(): [number, number];
/**
 * Hot. Bytes of a stream socket, to or from buffer[from … to - 1], without blocking whatever the socket's mode. Returns how
 * many, 0 when there are none or it takes none, or -errno; -EPIPE when the peer has closed.
 */
export function receiveBytes(fd: number, buffer: Uint8Array, from: number, to: number): number;
export function sendBytes(fd: number, buffer: Uint8Array, from: number, to: number): number;
/** Hot. Copies `count` spans, each three numbers: where it stands in `from`, where it goes in `to`, bytes. */
export function copyBytes(from: Uint8Array, to: Uint8Array, spans: Int32Array, count: number): void;

export function epollCreate(): number;
/** Adds an fd (EPOLLIN, level-triggered); `tag` comes back from wait. */
export function epollAdd(epoll: number, fd: number, tag: number): void;
/** Is the tag to come back also whenever the fd of `epollAdd` takes bytes? */
export function epollWriting(epoll: number, fd: number, tag: number, on: boolean): void;
export function epollRemove(epoll: number, fd: number): void;
/**
 * Hot. Waits up to `timeoutMs` (-1: for ever, 0: not at all); fills tags[0 … n - 1] with the tags that are ready or in error and returns n.
 * clock[0] is the monotonic time after the wait, ms with fraction; clock[1] that before it, where it may sleep.
 */
export function wait(epoll: number, tags: Int32Array, timeoutMs: number, clock: Float64Array): number;

/** An eventfd, non-blocking: signal adds one, clear takes all. Both may be called from any thread. */
export function eventCreate(): number;
export function eventSignal(fd: number): void;
export function eventClear(fd: number): void;

/** Calls `ready` on this thread's event loop whenever fd is readable, till `close` (which leaves fd open). */
export function watch(fd: number, ready: () => void): { close(): void };

/** NETLINK_ROUTE with the multicast groups given as a bit mask (RTMGRP_LINK = 1, RTMGRP_IPV4_ROUTE = 0x40). */
export function netlinkOpen(groups: number): number;
export function netlinkSend(fd: number, message: Uint8Array): void;
/** One datagram, without blocking; 0 when there is none, -105 (ENOBUFS) when the kernel dropped some. */
export function netlinkReceive(fd: number, buffer: Uint8Array): number;

/**
 * Gives the calling thread a table of open files of its own, in which reads and writes cost less: Node's own files stay in
 * it, sockets and files with a path do not. False: it can't be had, and the process's table is still shared. From then on
 * an fd means something else in this thread than in the others.
 */
export function ownFiles(): boolean;
/** An fd in this thread's own table for the main thread's `fd`; this thread closes it. */
export function fetchFile(fd: number): number;

/** One datagram to a unix socket ('@name' is abstract): what sd_notify needs. */
export function sendUnixDatagram(path: string, text: string): void;
/** Takes flock(LOCK_EX | LOCK_NB) on an fd; false when somebody else has it. */
export function lockFile(fd: number): boolean;
export function close(fd: number): void;

/**
 * Gives up, in all threads and for all that is started from now on: rights that an executed file would add (no_new_privs), system calls
 * that this program and its tools never make (seccomp: EPERM), and, of root's, core dumps and being traced by others of the same user.
 * Throws ENOSYS on processors whose calls it does not know, EINVAL where the kernel has no seccomp.
 */
export function confine(): void;
/**
 * From now on this thread, and the program that it becomes by `execute`, changes files and folders at or below these paths alone, each
 * with a zero behind it (landlock); what it may read stays as it is. False: the kernel has none of that.
 */
export function restrictWrites(paths: Uint8Array): boolean;
/**
 * Goes on as another program, execve(2): standard input and output, environment and process number stay. `words` are its arguments,
 * from its own name on, each with a zero behind it. Returns only by throwing the system's error.
 */
export function execute(path: string, words: Uint8Array): never;
