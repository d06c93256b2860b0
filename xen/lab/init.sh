#!/bin/busybox sh
# The first process of the lab's dom0: sets up what kxsh expects of a dom0, runs the command in
# /lab/command and tells its status on the second serial line. The first one is Xen's console; a third,
# on PCI, carries the command's errors, or the size of the user's terminal.
/bin/busybox --install -s /bin
fail() { echo "lab: $*"; poweroff -f; }
export PATH=/bin:/usr/bin:/usr/sbin:/usr/lib/xen-4.17/bin HOME=/root TERM=linux
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup # as on a Debian that systemd has booted
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /run /tmp /root /var/run
mount -t devpts devpts /dev/pts
for dir in /dev/shm /run /tmp; do mount -t tmpfs tmpfs $dir; done
ln -sf /proc/self/fd /dev/fd
while read -r module; do insmod "/lib/modules/$module.ko"; done </lib/modules/order
mount -t xenfs xenfs /proc/xen
ip link set lo up
hostname lab
. /lab/environment

line=/dev/ttyS1
exec 4<>$line # its window size is forgotten whenever nobody has it open
stty -F $line raw -echo
for tty in /sys/bus/pci/devices/*/tty/ttyS*; do
	if [ -e $tty ]; then third=/dev/${tty##*/}; stty -F $third raw -echo; fi
done
for script in /lab/setup/*; do
	if [ -e $script ]; then . $script; fi
done

cd /root
if [ -e /lab/interactive ]; then
	while read -r rows columns; do stty -F $line rows $rows cols $columns; done <$third 4>&- &
	printf '\n@lab %s begin\n' "$nonce" >$line
	stty -F $line sane rows $rows cols $columns
	setsid -c sh /lab/command <$line >$line 2>&1 4>&-
	status=$?
	stty -F $line raw -echo
	printf '\n@lab %s end %d\n' "$nonce" $status >$line
else
	# Through a pipe: the command must not take the line for a terminal. The end goes the same way,
	# so it comes after all that the command wrote, whoever still has the pipe open.
	mkfifo /run/lab-output /run/lab-errors
	exec 3<>/run/lab-output 5>&3
	cat <&3 >&4 3>&- 4>&- 5>&- &
	if [ -e /lab/errors ]; then
		exec 5<>/run/lab-errors
		cat <&5 >$third 3>&- 4>&- 5>&- &
		printf '\n@lab %s begin\n' "$nonce" >&5
	fi
	printf '\n@lab %s begin\n' "$nonce" >&3
	sh /lab/command </lab/stdin >&3 2>&5 3>&- 4>&- 5>&-
	status=$?
	printf '\n@lab %s end %d\n' "$nonce" $status >&3
	if [ -e /lab/errors ]; then printf '\n@lab %s end %d\n' "$nonce" $status >&5; fi
fi
# The machine is ended from outside as soon as the end has been read there.
sleep 60
poweroff -f
