# Sourced by /init: folders of the host that dom0 may write to, in /lab/shares as "TAG PATH".
while read -r tag dir; do
	mkdir -p "$root$dir"
	mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none "$tag" "$root$dir" || fail "$dir: cannot mount"
done </lab/shares
