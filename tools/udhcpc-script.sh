#!/bin/sh
# What udhcpc calls with each event: sets the address and the default route that it was given, and nothing else of the
# system (the packaged script would write /etc/resolv.conf, which a network namespace shares with the host).
case "$1" in
deconfig)
  ip -4 addr flush dev "$interface"
  ip link set "$interface" up
  ;;
bound | renew)
  ip addr replace "$ip/${mask:-24}" broadcast "${broadcast:-+}" dev "$interface"
  for gateway in $router; do
    ip route replace default via "$gateway" dev "$interface"
    break
  done
  ;;
esac
