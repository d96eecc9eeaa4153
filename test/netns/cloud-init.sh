#!/bin/sh
# A machine to boot cloud-init on: cloud-init.sh TOOLS CONFIG PROGRAM [WORD ...]
#
# TOOLS is where cloud-init's packages are unpacked, CONFIG its cloud.cfg. The machine's files are the host's under an overlay
# in memory, with nothing of the host's state, of its devices or of its processes; so whatever a module does is gone
# with it. To be run with namespaces of its own: unshare -m -u -i -p -f sh cloud-init.sh ...
set -e
tools=$1
config=$2
shift 2
stage=$(mktemp -d)
mount --make-rprivate /
mount -t tmpfs machine "$stage"
cd "$stage"
mkdir upper work tree
mount -t overlay machine -o lowerdir=/,upperdir=upper,workdir=work tree
for folder in dev etc/cloud home root run tmp tools var/lib/cloud var/log; do
  mkdir -p "tree/$folder"
  mount -t tmpfs machine "tree/$folder"
done
for device in null zero random urandom; do
  touch "tree/dev/$device"
  mount --bind "/dev/$device" "tree/dev/$device"
done
mount -t proc machine tree/proc
mount -t sysfs -o ro machine tree/sys
mount --bind -o ro "$tools" tree/tools
cp -r tree/tools/etc/cloud/templates tree/etc/cloud/
cp "$config" tree/etc/cloud/cloud.cfg
echo machine >tree/etc/hostname
hostname machine
export PYTHONPATH=/tools/usr/lib/python3/dist-packages PYTHONDONTWRITEBYTECODE=1
exec chroot tree "$@"
