#!/bin/sh
# systemd as PID 1 of the namespaces that it is started in, with the units of one folder; nothing of the machine's is written.
#   manager.sh FOLDER UNIT PROJECT     FOLDER/units, FOLDER/group, FOLDER/bin; the project is seen at /srv
set -e
folder=$1
mount --rbind "$3" /srv
mount --bind /etc /etc && mount -o remount,bind,ro /etc
mount --bind "$folder/group" /etc/group
# the unit opens these for writing
if [ -d /etc/ufw ]; then cp -a /etc/ufw "$folder/ufw" && mount --bind "$folder/ufw" /etc/ufw; fi
mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys
mount --bind /proc/sys/net /proc/sys/net && mount -o remount,bind,rw /proc/sys/net
umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
for each in /run /var/lib /var/tmp /tmp; do mount -t tmpfs -o mode=755 tmpfs $each; done
# as udev has it
mknod -m 666 "$folder/tun" c 10 200 && mount --bind "$folder/tun" /dev/net/tun
mount --make-rshared / # as a host has it: services see namespaces that are named later
export container=other SYSTEMD_UNIT_PATH="$folder/units"
exec /lib/systemd/systemd --system --unit="$2" --log-target=console --log-level=info --show-status=no
