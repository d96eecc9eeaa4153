/**
 * Why a frame was not delivered: one cause a frame, each a counter that a user can read, by port.
 * `Drop[reason]` is the name that `vswitchctl`, the replay's JSON and the metrics show.
 */
export enum Drop {
  None,
  // parse: the frame itself
  FrameTooShort,
  FrameTooLong,
  SourceIsGroup,
  BadOffloadHeader,
  // bridge
  ReservedAddress,
  SourceIsGateway, // a guest speaks with the gateway's own MAC
  GuardAddress, // strict guard: a MAC, an ARP sender or an IPv4 source that is not the guest's by lease or reservation
  GuardGateway, // … ARP that claims the gateway's address
  GuardServer, // … an answer of a DHCP server
  GuardProtocol, // … neither ARP nor IPv4, or with a VLAN tag
  MacLimit, // from one address more than its port may have
  BroadcastLimit, // to all: more of them in a second than its port may flood
  MulticastLimit, // … to a group
  UnknownLimit, // … to an address that nobody is known to have
  LearnLimit, // from a new address, more of them in a second than its port may bring
  SameSegment, // the destination is known on the port of reception: filtered, IEEE 802.1D §7.7
  NoEgressPort,
  EgressMtu, // larger than the egress port's maximum size
  TxFull, // the egress port took no more: back-pressure
  TxRefused, // the kernel or the peer refused the frame
  PortDown,
  // ARP
  ArpTruncated,
  ArpBadFormat,
  // IPv4
  Ip4Truncated,
  Ip4BadVersion,
  Ip4BadLength,
  Ip4BadChecksum,
  Ip4BadSource,
  Ip4BadDestination,
  Ip4TtlExceeded,
  Ip4NoRoute,
  Ip4Fragment, // a later one whose first did not come, or that there was no room for
  // UDP, TCP, ICMP
  UdpTruncated,
  UdpBadLength,
  TcpTruncated,
  TcpBadHeader,
  IcmpTruncated,
  IcmpBadChecksum,
  // gateway
  NotForwarded, // addressed to the gateway, but of no protocol that it routes (IPv6, …)
  NeighbourUnresolved,
  NatNoMapping,
  NatFiltered,
  NatNoPort,
  NatTableFull,
  NatGuestFull, // the guest has as many flows as one may have, or its port
  NatUnsupported,
  EgressDenied, // the egress policy has a rule against it
  HostDenied, // a connection to the host, which guests may not open (`--host-access`)
  CallerUnknown, // to or from a service of the host, in no connection that a guest has opened
  CallerTaken, // another port's guest has a connection from that address and TCP port
  CallersFull, // the port has as many connections to the service as it may
  // control plane
  PuntFull, // the control plane was behind
}

/** Number of reasons, `Drop.None` included: the length of a counter column. */
export const DROP_COUNT = Object.keys(Drop).length / 2;
