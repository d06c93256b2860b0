// Package engine is the process table and everything done to it: pVMs are spawned, signalled,
// waited for, restarted and adopted here, through the hypervisor interface of package xen. It serves
// its API on a unix socket, and Client is the same API from the other side.
//
// Truth about domains is the hypervisor's. What the hypervisor does not know (names, arguments,
// exit statuses, restart policies) is in a small transactional store, so that the engine may be
// killed at any moment: the next one adopts what runs and remembers what ended.
package engine
