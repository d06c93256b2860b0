# Sourced by /init: /lab/root becomes the host's file system, read-only over virtio-9p, under a layer in
# memory that takes what is written and already holds the files that the lab was given. The host does
# not change under us for as long as we look: cache=loose.
mkdir -p /lab/host /lab/above /lab/work /lab/root
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /lab/host &&
	mount -t overlay -o lowerdir=/lab/host,upperdir=/lab/above,workdir=/lab/work overlay /lab/root ||
	fail "cannot mount the host's file system"
mkdir -p /run/lab
cp /bin/busybox /run/lab/ # for what the host does not have, as a DHCP server
for dir in proc sys dev run; do mount -o rbind /$dir /lab/root/$dir || fail "/$dir: cannot mount"; done
