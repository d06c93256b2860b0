# Sourced by /init where xl is asked for: the daemons xl talks to, on Xen's own xenstore socket.
mkdir -p /run/xen /run/xenstored /var/lib/xen /var/lib/xenstored /var/log/xen
ln -s /run/xen /var/run/xen
ln -s /run/xenstored /var/run/xenstored
xenstored --pid-file /run/xenstored.pid
until xenstore-read / >/dev/null 2>&1; do sleep 0.1; done
xen-init-dom0 >/dev/null
xenconsoled --pid-file=/run/xenconsoled.pid
